//! The daemon on a real machine: every test plugs, starts and breaks real things.

mod announce;
mod applications;
mod boot;
mod burst;
mod check;
mod containers;
mod crash;
mod disk;
mod engine;
mod examples;
mod foreign;
mod grants;
mod hold;
mod hostile;
mod in_the_way;
mod journal;
mod labels;
mod namespace;
mod operator;
mod papers;
mod plug;
mod refused;
mod reload;
mod report;
mod runtime;
mod setup;
