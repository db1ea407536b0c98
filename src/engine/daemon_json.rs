//! The edit of the engine's configuration file, daemon.json (dockerd(8), "Daemon configuration
//! file"), that registers our runtime there or removes it again. Pure.
//!
//! The file belongs to the administrator, so nothing but our entry changes: order, spaces and line
//! ends of everything around it stay as they are. `serde_json` checks that the text is JSON, and
//! then a walk along it finds the few places that matter.

use std::ops::Range;

use serde::Deserialize;

/// The name under which the wrapper is registered, and which containers ask for.
pub const RUNTIME: &str = "ttyplug";

/// The wrapper's file name, wherever it is installed.
pub const PROGRAM: &str = "ttyplug-runtime";

/// Whether the program of a runtime is the wrapper, which can be registered under further names and
/// with other arguments.
pub fn is_wrapper(path: &str) -> bool {
    path.rsplit('/').next() == Some(PROGRAM)
}

/// The engine's file if no other is named on its command line.
pub const DEFAULT_FILE: &str = "/etc/docker/daemon.json";

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    #[error("it is not valid JSON, which has no comments: {0}")]
    NoJson(String),
    #[error("{0} is not a JSON object")]
    NoObject(&'static str),
    #[error("{0} appears twice")]
    Twice(&'static str),
    #[error("runtimes.ttyplug is not an object with `path` and, optionally, `runtimeArgs`")]
    NoRuntime,
    #[error("`default-runtime` is ttyplug, and the engine would not start without it")]
    IsDefault,
}

/// The program that the engine executes for our runtime.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    pub path: String,
    #[serde(default)]
    pub runtime_args: Vec<String>,
}

impl Registration {
    /// That of a program without arguments.
    pub fn of(path: String) -> Self {
        Self {
            path,
            runtime_args: Vec::new(),
        }
    }
}

/// A text that is a daemon.json.
#[derive(Debug)]
pub struct EngineFile<'t> {
    text: &'t str,
    root: Object,
    /// The object of runtimes, and which member of the root it is.
    runtimes: Option<(usize, Object)>,
    ours: Option<Ours>,
    others: Vec<String>,
    is_default: bool,
}

/// Our entry.
#[derive(Debug)]
struct Ours {
    /// Which of the runtimes it is.
    index: usize,
    registration: Registration,
    /// Where its path is in the text.
    path: Range<usize>,
}

/// The file without our entry.
#[derive(Debug, PartialEq, Eq)]
pub struct Without {
    /// With `runtimes` in it, be it empty: the engine keeps the runtimes that it has when it reads
    /// a file without any (moby, daemon/reload_unix.go, `IsValueSet("runtimes")`).
    pub to_reload: String,
    /// For the next start; `None` where the file has nothing but our entry.
    pub to_keep: Option<String>,
}

/// The file that registers our runtime and nothing else.
pub fn new_file(program: &str) -> String {
    let entry = entry(program);
    format!("{{\n  \"runtimes\": {{\n    {entry}\n  }}\n}}\n")
}

fn entry(program: &str) -> String {
    format!("\"{RUNTIME}\": {{ \"path\": {} }}", quoted(program))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl<'t> EngineFile<'t> {
    /// # Errors
    /// The engine would not accept the text, or it cannot be edited.
    pub fn parse(text: &'t str) -> Result<Self, FileError> {
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|error| FileError::NoJson(error.to_string()))?;
        let begin = end_of_space(text, 0);
        let root = Object::at(text, begin).ok_or(FileError::NoObject("it"))?;
        let runtimes = match root.only("runtimes")? {
            None => None,
            Some(index) => {
                let object = Object::at(text, root.members[index].value.start);
                Some((index, object.ok_or(FileError::NoObject("`runtimes`"))?))
            }
        };
        let ours = match &runtimes {
            None => None,
            Some((_, object)) => Ours::among(text, object)?,
        };
        let registered = value["runtimes"].as_object().into_iter().flatten();
        let others = registered
            .filter(|(name, its)| *name != RUNTIME && its["path"].as_str().is_some_and(is_wrapper))
            .map(|(name, _)| name.clone())
            .collect();
        Ok(Self {
            text,
            root,
            runtimes,
            ours,
            others,
            is_default: value["default-runtime"] == RUNTIME,
        })
    }

    pub fn registration(&self) -> Option<&Registration> {
        self.ours.as_ref().map(|ours| &ours.registration)
    }

    /// The names of other runtimes that execute the wrapper too.
    pub fn others(&self) -> &[String] {
        &self.others
    }

    /// The text with our runtime registered with this program. Its arguments stay.
    pub fn with(&self, program: &str) -> String {
        let entry = entry(program);
        match (&self.runtimes, &self.ours) {
            (_, Some(ours)) => replaced(self.text, ours.path.clone(), &quoted(program)),
            (Some((_, runtimes)), None) => runtimes.insert(self.text, &entry),
            (None, None) => {
                let line = self.root.line(self.text);
                let (inner, outer) = match line.strip_prefix('\n') {
                    Some(indent) => (format!("{line}{indent}"), line),
                    None => (String::new(), ""),
                };
                let member = format!("\"runtimes\": {{{inner}{entry}{outer}}}");
                self.root.insert(self.text, &member)
            }
        }
    }

    /// The text without our runtime; `None` where it is not registered.
    ///
    /// # Errors
    /// It is the default runtime.
    pub fn without(&self) -> Result<Option<Without>, FileError> {
        let (Some((index, runtimes)), Some(ours)) = (&self.runtimes, &self.ours) else {
            return Ok(None);
        };
        if self.is_default {
            return Err(FileError::IsDefault);
        }
        let to_reload = runtimes.remove(self.text, ours.index);
        let to_keep = if runtimes.members.len() > 1 {
            Some(to_reload.clone())
        } else if self.text == new_file(&ours.registration.path) {
            None
        } else {
            Some(self.root.remove(self.text, *index))
        };
        Ok(Some(Without { to_reload, to_keep }))
    }
}

impl Ours {
    fn among(text: &str, runtimes: &Object) -> Result<Option<Self>, FileError> {
        let Some(index) = runtimes.only(RUNTIME)? else {
            return Ok(None);
        };
        let entry = runtimes.members[index].value.clone();
        let registration =
            serde_json::from_str(&text[entry.clone()]).map_err(|_| FileError::NoRuntime)?;
        let object = Object::at(text, entry.start).ok_or(FileError::NoRuntime)?;
        let path = object.only("path")?.ok_or(FileError::NoRuntime)?;
        Ok(Some(Self {
            index,
            registration,
            path: object.members[path].value.clone(),
        }))
    }
}

/// Where an object's parts are in the text.
#[derive(Debug)]
struct Object {
    /// Behind its opening brace.
    inside: usize,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    /// Behind the brace or comma before it.
    begin: usize,
    name_at: usize,
    name: String,
    value: Range<usize>,
}

impl Object {
    /// The object that begins at this place of a JSON text, if it is one.
    fn at(text: &str, brace: usize) -> Option<Self> {
        if !text[brace..].starts_with('{') {
            return None;
        }
        let inside = brace + 1;
        let mut members = Vec::new();
        let mut begin = inside;
        loop {
            let name_at = end_of_space(text, begin);
            if text[name_at..].starts_with('}') {
                return Some(Self { inside, members });
            }
            let name_end = end_of_value(text, name_at);
            let colon = end_of_space(text, name_end);
            let value_at = end_of_space(text, colon + 1);
            let value = value_at..end_of_value(text, value_at);
            let behind = end_of_space(text, value.end);
            members.push(Member {
                begin,
                name_at,
                // The engine compares names without their escapes.
                name: serde_json::from_str(&text[name_at..name_end]).ok()?,
                value,
            });
            if !text[behind..].starts_with(',') {
                return Some(Self { inside, members });
            }
            begin = behind + 1;
        }
    }

    /// The member with this name. The engine takes the last of several, and merges objects.
    fn only(&self, name: &'static str) -> Result<Option<usize>, FileError> {
        let mut found = (0..self.members.len()).filter(|&index| self.members[index].name == name);
        match (found.next(), found.next()) {
            (index, None) => Ok(index),
            _ => Err(FileError::Twice(name)),
        }
    }

    /// The space before a new member: a line end and its indentation, or one space.
    fn line<'t>(&self, text: &'t str) -> &'t str {
        let Some(first) = self.members.first() else {
            return "";
        };
        let space = &text[first.begin..first.name_at];
        space.rfind('\n').map_or(" ", |line| &space[line..])
    }

    fn insert(&self, text: &str, member: &str) -> String {
        match self.members.last() {
            Some(last) => {
                let line = self.line(text);
                let end = last.value.end;
                replaced(text, end..end, &format!(",{line}{member}"))
            }
            None => replaced(text, self.inside..self.inside, member),
        }
    }

    /// With a member goes the comma beside it.
    fn remove(&self, text: &str, index: usize) -> String {
        let member = &self.members[index];
        let before = index.checked_sub(1).map(|index| &self.members[index]);
        let range = match (before, self.members.get(index + 1)) {
            (_, Some(next)) => member.begin..next.begin,
            (Some(before), None) => before.value.end..member.value.end,
            (None, None) => self.inside..member.value.end,
        };
        replaced(text, range, "")
    }
}

fn replaced(text: &str, range: Range<usize>, by: &str) -> String {
    [&text[..range.start], by, &text[range.end..]].concat()
}

fn end_of_space(text: &str, at: usize) -> usize {
    let rest = text[at..].trim_start_matches([' ', '\t', '\r', '\n']);
    text.len() - rest.len()
}

/// The end of the value that begins at this place of a JSON text.
fn end_of_value(text: &str, at: usize) -> usize {
    let mut depth = 0;
    let mut characters = text[at..].char_indices();
    while let Some((offset, character)) = characters.next() {
        let here = at + offset;
        match character {
            '"' => {
                while let Some((_, quoted)) = characters.next() {
                    match quoted {
                        '\\' => drop(characters.next()),
                        '"' => break,
                        _ => {}
                    }
                }
                if depth == 0 {
                    return text.len() - characters.as_str().len();
                }
            }
            '{' | '[' => depth += 1,
            '}' | ']' if depth > 1 => depth -= 1,
            '}' | ']' if depth == 1 => return here + 1,
            '}' | ']' | ',' | ' ' | '\t' | '\r' | '\n' if depth == 0 => return here,
            _ => {}
        }
    }
    text.len()
}

/// The file that was named on an engine's command line. It does not start without that one, while
/// [`DEFAULT_FILE`] may be missing (moby, cmd/dockerd, `loadDaemonCliConfig`).
pub fn named_file(arguments: &[String]) -> Option<&str> {
    option(arguments, "--config-file")
}

/// Whether an engine was given runtimes on its command line. When it reads its file again it forgets
/// those for the ones in the file.
pub fn has_runtimes(arguments: &[String]) -> bool {
    option(arguments, "--add-runtime").is_some()
}

fn option<'a>(arguments: &'a [String], name: &str) -> Option<&'a str> {
    arguments.iter().enumerate().find_map(|(index, argument)| {
        match argument.strip_prefix(name)? {
            "" => arguments.get(index + 1).map(String::as_str),
            rest => rest.strip_prefix('='),
        }
    })
}

#[cfg(test)]
mod tests;
