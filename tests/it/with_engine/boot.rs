//! An engine that starts: its containers are created before it answers any call, as at boot.

use crate::testbed::{Recipe, Testbed, engine};

#[test]
fn a_label_error_is_reported_though_a_wrapper_asked_before_the_engine_answered() {
    let bed = Testbed::with_runtime("");
    let daemon = bed.daemon();
    let _container = Recipe::new("app")
        .with(&["--runtime", "ttyplug", "--restart", "always"])
        .label("ttyplugd.enable=perhaps")
        .start();
    let reported = ["WARN", "ttyplugd.enable", "perhaps"];
    daemon.logs(&reported);
    engine("stop");
    daemon.stop();
    // This daemon knows the container from its state directory alone when the wrapper asks.
    let daemon = bed.daemon();
    engine("start");
    daemon.logs(&reported);
}
