//! The labels of containers and images, as far as they are kept.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::model::label::NeededLabels;

/// The labels that are needed, and those of images by id; an image never changes.
#[derive(Debug, Default)]
pub struct Labels {
    needed: RefCell<NeededLabels>,
    of_images: RefCell<BTreeMap<String, BTreeMap<String, String>>>,
}

impl Labels {
    pub fn new(needed: NeededLabels) -> Self {
        Self {
            needed: needed.into(),
            ..Self::default()
        }
    }

    /// From now on these are needed. Containers have to be listed again.
    pub fn need(&self, needed: NeededLabels) {
        self.needed.replace(needed);
        self.of_images.take();
    }

    pub(super) fn of_image(&self, image: &str) -> Option<BTreeMap<String, String>> {
        self.of_images.borrow().get(image).cloned()
    }

    pub(super) fn remember(&self, image: &str, labels: &BTreeMap<String, String>) {
        let mut of_images = self.of_images.borrow_mut();
        of_images.insert(image.to_owned(), labels.clone());
    }

    pub(super) fn retain(&self, images: &BTreeSet<String>) {
        let mut of_images = self.of_images.borrow_mut();
        of_images.retain(|image, _| images.contains(image));
    }

    /// What is kept of all labels that a container or an image has.
    pub(super) fn kept(&self, all: Option<HashMap<String, String>>) -> BTreeMap<String, String> {
        self.needed.borrow().of(all.unwrap_or_default())
    }
}
