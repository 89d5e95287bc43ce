//! What a document may use beyond the first version, by name: an agent that lacks any of it changes nothing. Pure.

use super::{Attributes, DesiredState};

/// [`DesiredState::registry_values`].
pub const REGISTRY_VALUES: &str = "registryValues";
/// [`DesiredState::packages`].
pub const PACKAGES: &str = "packages";
/// `Service::wrap`.
pub const WRAP: &str = "wrap";
/// `Service::password`.
pub const SERVICE_PASSWORD: &str = "servicePassword";
/// `Attributes::access`, `read_only` and `hidden`.
pub const WINDOWS_ATTRIBUTES: &str = "windowsAttributes";

/// All of them.
pub const ALL: &[&str] = &[PACKAGES, REGISTRY_VALUES, SERVICE_PASSWORD, WINDOWS_ATTRIBUTES, WRAP];

/// The features that a document uses, sorted: what its `required_features` have to be.
pub fn used_by(desired: &DesiredState) -> Vec<String> {
    let DesiredState {
        node_uid: _,
        required_features: _,
        suspended: _,
        directories,
        files,
        services,
        registry_values,
        packages,
    } = desired;
    let mut attributes = directories.iter().map(|d| &d.attributes).chain(files.iter().map(|f| &f.attributes));
    let mut used = Vec::new();
    for (feature, is_used) in [
        (PACKAGES, !packages.is_empty()),
        (REGISTRY_VALUES, !registry_values.is_empty()),
        (SERVICE_PASSWORD, services.iter().any(|service| service.password.is_some())),
        (WINDOWS_ATTRIBUTES, attributes.any(is_of_windows)),
        (WRAP, services.iter().any(|service| service.wrap)),
    ] {
        if is_used {
            used.push(feature.to_owned());
        }
    }
    used
}

fn is_of_windows(attributes: &Attributes) -> bool {
    let Attributes { mode: _, owner: _, group: _, access, read_only, hidden } = attributes;
    access.is_some() || read_only.is_some() || hidden.is_some()
}
