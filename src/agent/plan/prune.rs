//! The part of a plan that removes what nobody wants any more, from the leaves upwards. Pure.

use super::{Action, Deed, REMOVAL, Standing, build::Builder};
use crate::agent::{
    host::Reason,
    observe::State,
    place::{Kind, Thing},
    product::Product,
    store::{LedgerEntry, Origin},
};

/// What becomes of something that is managed and not wanted.
enum End {
    Goes(Deed),
    /// Goes once what lies in it has gone.
    Waits,
    /// Still needed, or seen to elsewhere.
    Stays,
    Stuck(Standing),
}

/// Removals that can be begun now, and how everything stands that is still there.
pub(super) fn prune(builder: &Builder<'_>) -> (Vec<Action>, Vec<(Thing, Standing)>) {
    let mut actions = Vec::new();
    let mut leftovers = Vec::new();
    // What is old stays until what is new has taken its place.
    let is_building = builder.is_building();
    let gone = builder.s.ledger.iter().filter(|(identity, _)| !builder.wanted.contains_key(identity.as_str()));
    for (identity, managed) in gone {
        let standing = match end(builder, identity, managed) {
            End::Stays => continue,
            End::Stuck(standing) => standing,
            End::Waits => Standing::Pending,
            End::Goes(deed) if is_building && deed != Deed::Note => Standing::Pending,
            End::Goes(deed) => {
                let last = builder.s.retries.last(identity, REMOVAL, builder.s.now);
                if last.is_none_or(|(_, due)| due) {
                    let (thing, wish) = (managed.thing.clone(), REMOVAL.to_owned());
                    actions.push(Action { thing, wish, deed, afterwards: None, was_absent: false });
                }
                last.map_or(Standing::Pending, |(trouble, _)| Standing::Failed(trouble.clone()))
            }
        };
        leftovers.push((managed.thing.clone(), standing));
    }
    actions.sort_by_key(|action| std::cmp::Reverse(action.place().depth()));
    (actions, leftovers)
}

fn end(builder: &Builder<'_>, identity: &str, managed: &LedgerEntry) -> End {
    let place = managed.thing.place();
    if managed.origin == Origin::Adopted {
        return End::Goes(Deed::Note);
    }
    let seen = match builder.s.observed.at(&place) {
        Ok(seen) => seen,
        // Something else took the place of a directory above: what was created is not there any more.
        Err(e) if matches!(e.reason, Reason::WrongKind | Reason::LinkInPath) => return End::Goes(Deed::Note),
        Err(error) => return End::Stuck(Standing::Failed(error.clone().into())),
    };
    let removal = match (&managed.thing, seen) {
        (Thing::Directory(path), State::Directory(_)) => Deed::RemoveDirectory { path: path.clone(), or_leave: true },
        (Thing::Key(key), State::Key) => Deed::RemoveKey(key.clone()),
        (Thing::File(path), State::File { .. }) => Deed::RemoveFile(path.clone()),
        (Thing::Value(place), State::Value(_) | State::OtherValue { .. }) => Deed::RemoveValue(place.clone()),
        // Its program would remove what the entry of that name has put in its place.
        (Thing::Package(name, Product::Exe { .. }), _) if builder.wants(name) => Deed::Note,
        (Thing::Package(name, product), State::Package { .. }) if product.is_removable() => {
            Deed::Uninstall(name.clone(), product.clone())
        }
        // What was created is not there any more, or nothing removes it.
        _ => Deed::Note,
    };
    match managed.thing.kind() {
        Kind::Directory | Kind::Key if removal != Deed::Note => {
            if builder.above.contains(identity) {
                // Still needed by what lies in it.
                End::Stays
            } else if builder.owns_below(&place) {
                End::Waits
            } else {
                End::Goes(removal)
            }
        }
        // It makes way.
        _ if builder.making_way.contains_key(identity) => End::Stays,
        _ => End::Goes(removal),
    }
}
