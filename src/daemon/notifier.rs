//! Word that something has changed. What it is now, everybody looks up in the world.

use tokio::sync::watch;

#[derive(Debug, Default)]
pub struct Changes {
    all: watch::Sender<()>,
    heard: watch::Sender<()>,
}

/// Hears of changes, and of many as of one.
#[derive(Debug)]
pub struct Changed(watch::Receiver<()>);

impl Changes {
    /// The daemon has taken in what there is.
    pub fn tell(&self) {
        self.all.send_replace(());
        self.heard.send_replace(());
    }

    /// Something that only those who watch want to know: an open is held, or not any more.
    pub fn tell_watchers(&self) {
        self.heard.send_replace(());
    }

    /// For those who tell wrappers and keepers.
    pub fn subscribe(&self) -> Changed {
        Changed(self.all.subscribe())
    }

    /// For those who watch.
    pub fn watch(&self) -> Changed {
        Changed(self.heard.subscribe())
    }
}

impl Changed {
    /// Waits for a change since the last call. `None` if there will be no more.
    pub async fn next(&mut self) -> Option<()> {
        self.0.changed().await.ok()
    }
}
