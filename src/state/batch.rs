//! Several changes that stand or fall together.

use super::{Change, Effect, State};
use crate::Error;

impl State {
    /// Applies several changes in order: all of them, or none.
    ///
    /// # Errors
    /// Those of [`apply`](Self::apply), for the first change that it refuses; nothing changed then.
    pub fn apply_all(&mut self, changes: &[Change]) -> Result<Effect, Error> {
        if let [change] = changes {
            return self.apply(change);
        }
        // A copy shares all that the changes do not touch, and is dropped if one of them fails.
        let mut next = self.clone();
        let mut effect = Effect::Unchanged;
        for change in changes {
            if next.apply(change)? == Effect::Changed {
                effect = Effect::Changed;
            }
        }
        *self = next;
        Ok(effect)
    }
}
