//! Values that many hold at once and few change.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// A value that is copied only when somebody changes it while others hold it, too. Lists hand out thousands of tasks that
/// nobody changes; copying each would take longer than finding it.
#[derive(Debug, Clone)]
pub struct Shared<T>(Arc<T>);

impl<T> Shared<T> {
    /// Held by nobody else yet.
    #[must_use]
    pub fn new(value: T) -> Shared<T> {
        Shared(Arc::new(value))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

/// Two that hold the same are equal without a look.
impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_by_nobody_else() {
        let mut one = Shared::new(vec![1, 2]);
        let other = one.clone();
        assert!(std::ptr::eq(&*one, &*other), "it is not copied before it is changed");
        one.push(3);
        assert_eq!((&*one, &*other), (&vec![1, 2, 3], &vec![1, 2]));
        assert_ne!(one, other);
        let at = std::ptr::from_ref(&*one);
        one.push(4);
        assert!(std::ptr::eq(at, &*one), "nobody else holds it");
        assert_eq!(Shared::new(vec![1, 2]), other);
    }
}
