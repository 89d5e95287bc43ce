//! The checked-in CustomResourceDefinitions are what `windlass-operator crds` prints.

#![allow(clippy::expect_used)]

use std::{fs, path::Path};

#[test]
fn the_checked_in_crds_are_what_the_source_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let printed = windlass::api::crds_yaml().expect("CRDs");
    for file in ["crds/edgenodes.yaml", "charts/windlass/files/crds/edgenodes.yaml"] {
        let checked_in = fs::read_to_string(root.join(file)).expect(file);
        assert!(printed == checked_in, "{file} is not what `make crds` writes");
    }
}
