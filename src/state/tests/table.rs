//! The table behaves as a hash map, and clones of it stay as they were.

use std::collections::HashMap;

use proptest::prelude::*;

use super::super::table::{Shared, Table, fetch};

impl Shared for u32 {}

#[derive(Clone, Debug)]
enum Step {
    Insert(u16, u32),
    Remove(u16),
    Edit(u16, u32),
    DropMultiples(u32),
    Clone,
}

fn step() -> impl Strategy<Value = Step> {
    let key = prop_oneof![0..64_u16, any::<u16>()];
    prop_oneof![
        30 => (key.clone(), any::<u32>()).prop_map(|(key, value)| Step::Insert(key, value)),
        10 => key.clone().prop_map(Step::Remove),
        10 => (key, any::<u32>()).prop_map(|(key, value)| Step::Edit(key, value)),
        1 => (2..9_u32).prop_map(Step::DropMultiples),
        2 => Just(Step::Clone),
    ]
}

fn content(table: &Table<u16, u32>) -> HashMap<u16, u32> {
    let content: HashMap<_, _> = table.iter().map(|(key, value)| (*key, *value)).collect();
    assert_eq!(content.len(), table.len());
    content
}

fn run(steps: Vec<Step>) {
    let mut table = Table::new();
    let mut model = HashMap::new();
    let mut clones = Vec::new();
    for step in steps {
        match step {
            Step::Insert(key, value) => {
                assert_eq!(table.insert(key, value), model.insert(key, value));
            }
            Step::Remove(key) => assert_eq!(table.remove(&key), model.remove(&key)),
            Step::Edit(key, by) => {
                let slot = table.find(&key);
                assert_eq!(slot.and_then(|slot| table.at(slot)), model.get(&key));
                table.edit(slot, &key, |value| *value = value.wrapping_add(by));
                let value: &mut u32 = model.entry(key).or_default();
                *value = value.wrapping_add(by);
            }
            Step::DropMultiples(of) => {
                let mut dropped = 0;
                let before = table.len();
                table.retain(
                    |value| value % of != 0,
                    |value| {
                        assert_eq!(value % of, 0);
                        dropped += 1;
                    },
                );
                model.retain(|_, value| *value % of != 0);
                assert_eq!(before - table.len(), dropped);
            }
            Step::Clone => clones.push((table.clone(), model.clone())),
        }
        assert_eq!(table.len(), model.len());
    }
    for (key, value) in &model {
        assert_eq!(table.get(key), Some(value));
    }
    for first in (0..u16::MAX - 16).step_by(1009) {
        let keys = first..first + 16;
        let even = keys.clone().filter(|key| model.get(key).is_some_and(|value| value % 2 == 0));
        let keys: Vec<u16> = keys.collect();
        assert_eq!(
            fetch(keys.iter().map(|key| table.wanted(key)), |value| value % 2 == 0),
            even.count()
        );
    }
    assert_eq!(content(&table), model);
    for (clone, model) in clones {
        assert_eq!(content(&clone), model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn like_a_hash_map(steps in prop::collection::vec(step(), 0..1500)) {
        run(steps);
    }
}

#[test]
fn many_rows_and_back_to_none() {
    let mut table: Table<u32, u32> = Table::new();
    for key in 0..50_000 {
        assert_eq!(table.insert(key, key), None);
    }
    let clone = table.clone();
    assert!((0..50_000).all(|key| table.get(&key) == Some(&key)));
    assert!((0..50_000).all(|key| table.remove(&key) == Some(key)));
    assert_eq!((table.len(), table.iter().count()), (0, 0));
    assert!((0..50_000).all(|key| clone.get(&key) == Some(&key)));
    assert_eq!(format!("{clone:?}"), "Table(50000 rows in 6250 leaves)");
    assert_eq!(table.remove(&1), None);
}

#[test]
fn a_table_made_of_rows_is_one_that_they_were_added_to() {
    for count in [0, 1, 7, 8, 9, 511, 512, 513, 4096 * 8, 4096 * 8 + 1, 70_000] {
        let rows: Vec<(u32, u32)> = (0..count).map(|key| (key, key * 2)).collect();
        let (some, others) = rows.split_at(rows.len() / 3);
        let mut made = Table::of([some.to_vec(), others.to_vec()]);
        let mut added = Table::new();
        assert!(rows.iter().all(|(key, value)| added.insert(*key, *value).is_none()));
        assert_eq!(format!("{made:?}"), format!("{added:?}"));
        assert!((0..count).all(|key| made.get(&key) == Some(&(key * 2))), "{count}");
        assert_eq!(made.iter().count(), rows.len());
        let clone = made.clone();
        assert!((count..count + 1000).all(|key| made.insert(key, key).is_none()), "{count}");
        assert!((0..count + 1000).all(|key| made.remove(&key).is_some()), "{count}");
        assert_eq!((made.iter().count(), clone.iter().count()), (0, rows.len()));
    }
}
