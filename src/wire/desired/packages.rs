//! Packages of a document ↔ model. Pure.

use super::{
    artifact_from_wire, artifact_to_wire, path,
    registry::{place_from_wire, place_to_wire},
};
use crate::{
    model::{Artifact, Detect, Installer, MsiVersion, Package, PackageName, ProductCode},
    wire::{
        WireError,
        desired_v1::{self as pb, package},
    },
};

pub(super) fn package_to_wire(Package { name, installer }: &Package) -> pb::Package {
    let installer = match installer.clone() {
        Installer::Msi { artifact, product_code, version, properties } => package::Installer::Msi(package::Msi {
            artifact: Some(artifact_to_wire(&artifact)),
            product_code: product_code.to_string(),
            version: version.to_string(),
            properties: properties.into_iter().map(|(name, value)| package::Property { name, value }).collect(),
        }),
        Installer::Exe { artifact, arguments, uninstall, detect, success_codes } => {
            package::Installer::Exe(package::Exe {
                artifact: Some(artifact_to_wire(&artifact)),
                arguments,
                uninstall,
                detect: Some(match detect {
                    Detect::RegistryValue { place, equals } => {
                        package::exe::Detect::RegistryValue(package::DetectRegistryValue {
                            place: Some(place_to_wire(&place)),
                            equals,
                        })
                    }
                    Detect::File { path } => package::exe::Detect::File(path.to_string()),
                }),
                success_codes,
            })
        }
    };
    pb::Package { name: name.to_string(), installer: Some(installer) }
}

pub(super) fn package_from_wire(package: pb::Package) -> Result<Package, WireError> {
    let installer = match package.installer {
        Some(package::Installer::Msi(msi)) => Installer::Msi {
            artifact: artifact(msi.artifact)?,
            product_code: ProductCode::parse(&msi.product_code).map_err(|e| WireError::field("product_code", e))?,
            version: MsiVersion::parse(&msi.version).map_err(|e| WireError::field("version", e))?,
            properties: msi.properties.into_iter().map(|p| (p.name, p.value)).collect(),
        },
        Some(package::Installer::Exe(exe)) => Installer::Exe {
            artifact: artifact(exe.artifact)?,
            arguments: exe.arguments,
            uninstall: exe.uninstall,
            detect: match exe.detect {
                Some(package::exe::Detect::RegistryValue(value)) => {
                    Detect::RegistryValue { place: place_from_wire(value.place)?, equals: value.equals }
                }
                Some(package::exe::Detect::File(file)) => Detect::File { path: path("file", &file)? },
                None => return Err(WireError::field("detect", "there is none that this version knows")),
            },
            success_codes: exe.success_codes,
        },
        None => return Err(WireError::field("installer", "there is none that this version knows")),
    };
    let name = PackageName::parse(&package.name).map_err(|e| WireError::field("name", e))?;
    Ok(Package { name, installer })
}

fn artifact(artifact: Option<pb::Artifact>) -> Result<Artifact, WireError> {
    artifact_from_wire("artifact", artifact.ok_or_else(|| WireError::field("artifact", "is missing"))?)
}
