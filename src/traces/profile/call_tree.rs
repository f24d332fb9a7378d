//! Call paths: what was called by what, `agent:operation` by `agent:operation`.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::traces::{awaited::Awaited, forest::Forest};

/// Where a frame stands in [`CallTree::frames`].
pub type FrameNo = usize;

/// Frames below that many count for the last one.
const DEPTH_MAX: usize = 128;

/// So many frames are kept; calls on further paths count for [`OTHERS`].
const FRAMES_MAX: usize = 50_000;

/// What call paths count for that are too many.
pub(super) const OTHERS: &str = "(other call paths)";

/// One `agent:operation` on its call path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What called it.
    pub parent: Option<FrameNo>,
    /// `agent:operation`.
    pub label: Arc<str>,
    /// Frames above.
    pub depth: usize,
}

/// The call paths of many traces, each once.
#[derive(Clone, Debug, Default)]
pub struct CallTree {
    frames: Vec<Frame>,
    known: HashMap<(Option<FrameNo>, Arc<str>), FrameNo>,
    labels: HashMap<Arc<str>, Arc<str>>,
}

impl CallTree {
    /// All frames, each after its parent.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// A label, kept once.
    fn label(&mut self, text: &str) -> Arc<str> {
        if let Some(label) = self.labels.get(text) {
            return label.clone();
        }
        let label: Arc<str> = text.into();
        self.labels.insert(label.clone(), label.clone());
        label
    }

    fn frame(&mut self, parent: Option<FrameNo>, label: &str) -> FrameNo {
        let depth = parent.map_or(0, |parent| self.frames[parent].depth + 1);
        if depth >= DEPTH_MAX {
            return parent.unwrap_or_default();
        }
        let (parent, label, depth) = if self.frames.len() < FRAMES_MAX || label == OTHERS {
            (parent, self.label(label), depth)
        } else if let Some(known) = self.labels.get(label)
            && let Some(no) = self.known.get(&(parent, known.clone()))
        {
            return *no;
        } else {
            (None, self.label(OTHERS), 0)
        };
        *self
            .known
            .entry((parent, label.clone()))
            .or_insert_with(|| {
                self.frames.push(Frame {
                    parent,
                    label,
                    depth,
                });
                self.frames.len() - 1
            })
    }

    /// By node of a forest its frame.
    pub(in crate::traces) fn place(
        &mut self,
        forest: &Forest<'_>,
        awaited: &Awaited,
    ) -> Vec<FrameNo> {
        let mut frames = vec![0; forest.nodes.len()];
        for no in &awaited.order {
            let parent = awaited.parent[*no].map(|parent| frames[parent]);
            frames[*no] = self.frame(parent, &forest.nodes[*no].label());
        }
        frames
    }

    /// The labels from the root to a frame.
    pub fn path(&self, no: FrameNo) -> Vec<Arc<str>> {
        let mut path = Vec::new();
        let mut at = Some(no);
        while let Some(frame) = at.map(|no| &self.frames[no]) {
            path.push(frame.label.clone());
            at = frame.parent;
        }
        path.reverse();
        path
    }
}
