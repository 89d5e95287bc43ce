//! The document ↔ model: its bytes are what a revision names. Pure.

mod packages;
mod registry;
mod services;

use prost::Message as _;

use self::{
    packages::{package_from_wire, package_to_wire},
    registry::{registry_value_from_wire, registry_value_to_wire},
    services::{service_from_wire, service_to_wire},
};
use super::{WireError, desired_v1 as pb};
use crate::model::{
    Access, Artifact, Attributes, Content, DesiredState, Digest, Directory, Drift, File, Grant, HostPath, Mode, Rights,
    Salt, ServiceName, Source,
};

/// The bytes of a document. The same value always gives the same bytes.
pub fn encode(desired: &DesiredState) -> Vec<u8> {
    pb::DesiredState::from(desired).encode_to_vec()
}

/// Reads what [`encode`] wrote; unknown fields are passed over.
pub fn decode(bytes: &[u8]) -> Result<DesiredState, WireError> {
    let document =
        pb::DesiredState::decode(bytes).map_err(|source| WireError::Decode { message: "DesiredState", source })?;
    document.try_into()
}

impl From<&DesiredState> for pb::DesiredState {
    fn from(desired: &DesiredState) -> Self {
        let DesiredState {
            node_uid,
            required_features,
            suspended,
            directories,
            files,
            services,
            registry_values,
            packages,
        } = desired;
        Self {
            node_uid: node_uid.clone(),
            required_features: required_features.clone(),
            suspended: *suspended,
            directories: directories.iter().map(directory_to_wire).collect(),
            files: files.iter().map(file_to_wire).collect(),
            services: services.iter().map(service_to_wire).collect(),
            registry_values: registry_values.iter().map(registry_value_to_wire).collect(),
            packages: packages.iter().map(package_to_wire).collect(),
        }
    }
}

impl TryFrom<pb::DesiredState> for DesiredState {
    type Error = WireError;

    fn try_from(document: pb::DesiredState) -> Result<Self, WireError> {
        let pb::DesiredState {
            node_uid,
            required_features,
            suspended,
            directories,
            files,
            services,
            registry_values,
            packages,
        } = document;
        Ok(Self {
            node_uid,
            required_features,
            suspended,
            directories: each("directories", directories, directory_from_wire)?,
            files: each("files", files, file_from_wire)?,
            services: each("services", services, service_from_wire)?,
            registry_values: each("registry_values", registry_values, registry_value_from_wire)?,
            packages: each("packages", packages, package_from_wire)?,
        })
    }
}

fn each<A, B>(field: &str, items: Vec<A>, convert: impl Fn(A) -> Result<B, WireError>) -> Result<Vec<B>, WireError> {
    items
        .into_iter()
        .enumerate()
        .map(|(i, item)| {
            convert(item).map_err(|e| match e {
                WireError::Field { field: inner, why } => WireError::field(format!("{field}[{i}].{inner}"), why),
                other => other,
            })
        })
        .collect()
}

fn path(field: &str, text: &str) -> Result<HostPath, WireError> {
    HostPath::parse(text).map_err(|e| WireError::field(field, e))
}

fn name(field: &str, text: &str) -> Result<ServiceName, WireError> {
    ServiceName::parse(text).map_err(|e| WireError::field(field, e))
}

fn drift_to_wire(drift: Drift) -> i32 {
    match drift {
        Drift::Enforce => pb::Drift::Enforce as i32,
        Drift::Audit => pb::Drift::Audit as i32,
    }
}

fn drift_from_wire(drift: i32) -> Result<Drift, WireError> {
    match pb::Drift::try_from(drift) {
        Ok(pb::Drift::Enforce) => Ok(Drift::Enforce),
        Ok(pb::Drift::Audit) => Ok(Drift::Audit),
        _ => Err(WireError::field("drift", format!("unknown value {drift}"))),
    }
}

fn attributes_to_wire(attributes: &Attributes) -> Option<pb::Attributes> {
    let Attributes { mode, owner, group, access, read_only, hidden } = attributes;
    (*attributes != Attributes::default()).then(|| pb::Attributes {
        mode: mode.map(Mode::bits),
        owner: owner.clone().unwrap_or_default(),
        group: group.clone().unwrap_or_default(),
        access: access.as_ref().map(access_to_wire),
        read_only: *read_only,
        hidden: *hidden,
    })
}

fn attributes_from_wire(attributes: Option<pb::Attributes>) -> Result<Attributes, WireError> {
    let pb::Attributes { mode, owner, group, access, read_only, hidden } = attributes.unwrap_or_default();
    let mode = mode
        .map(|bits| {
            Mode::new(bits).ok_or_else(|| WireError::field("attributes.mode", format!("{bits:#o} is above 0o7777")))
        })
        .transpose()?;
    let access = access.map(access_from_wire).transpose()?;
    Ok(Attributes { mode, owner: non_empty(owner), group: non_empty(group), access, read_only, hidden })
}

fn access_to_wire(Access { inherit, grants }: &Access) -> pb::Access {
    let grant = |Grant { account, rights }: &Grant| {
        let rights = match rights {
            Rights::Read => pb::Rights::Read,
            Rights::ReadAndExecute => pb::Rights::ReadAndExecute,
            Rights::Modify => pb::Rights::Modify,
            Rights::FullControl => pb::Rights::FullControl,
        };
        pb::Grant { account: account.clone(), rights: rights as i32 }
    };
    pb::Access { inherit: *inherit, grants: grants.iter().map(grant).collect() }
}

fn access_from_wire(access: pb::Access) -> Result<Access, WireError> {
    let grant = |pb::Grant { account, rights }| {
        let rights = match pb::Rights::try_from(rights) {
            Ok(pb::Rights::Read) => Rights::Read,
            Ok(pb::Rights::ReadAndExecute) => Rights::ReadAndExecute,
            Ok(pb::Rights::Modify) => Rights::Modify,
            Ok(pb::Rights::FullControl) => Rights::FullControl,
            _ => return Err(WireError::field("rights", format!("unknown value {rights}"))),
        };
        Ok(Grant { account, rights })
    };
    Ok(Access { inherit: access.inherit, grants: each("attributes.access.grants", access.grants, grant)? })
}

fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn directory_to_wire(directory: &Directory) -> pb::Directory {
    let Directory { path, attributes, drift } = directory;
    pb::Directory { path: path.to_string(), attributes: attributes_to_wire(attributes), drift: drift_to_wire(*drift) }
}

fn directory_from_wire(directory: pb::Directory) -> Result<Directory, WireError> {
    Ok(Directory {
        path: path("path", &directory.path)?,
        attributes: attributes_from_wire(directory.attributes)?,
        drift: drift_from_wire(directory.drift)?,
    })
}

fn file_to_wire(file: &File) -> pb::File {
    let File { path, source, attributes, drift } = file;
    let source = match source {
        Source::Content(content) => pb::file::Source::Content(content_to_wire(content)),
        Source::Artifact(artifact) => pb::file::Source::Artifact(artifact_to_wire(artifact)),
    };
    pb::File {
        path: path.to_string(),
        source: Some(source),
        attributes: attributes_to_wire(attributes),
        drift: drift_to_wire(*drift),
    }
}

fn file_from_wire(file: pb::File) -> Result<File, WireError> {
    let source = match file.source {
        Some(pb::file::Source::Content(content)) => Source::Content(content_from_wire("content", content)?),
        Some(pb::file::Source::Artifact(artifact)) => Source::Artifact(artifact_from_wire("artifact", artifact)?),
        None => return Err(WireError::field("source", "there is none that this version knows")),
    };
    Ok(File {
        path: path("path", &file.path)?,
        source,
        attributes: attributes_from_wire(file.attributes)?,
        drift: drift_from_wire(file.drift)?,
    })
}

fn content_to_wire(Content { digest, salt, size }: &Content) -> pb::Content {
    pb::Content {
        digest: digest.as_bytes().to_vec().into(),
        salt: salt.map(|s| s.as_bytes().to_vec()).unwrap_or_default().into(),
        size: *size,
    }
}

fn content_from_wire(field: &str, pb::Content { digest, salt, size }: pb::Content) -> Result<Content, WireError> {
    Ok(Content {
        digest: self::digest(&format!("{field}.digest"), &digest)?,
        salt: (!salt.is_empty())
            .then(|| Salt::try_from(&salt[..]).map_err(|e| WireError::field(format!("{field}.salt"), e)))
            .transpose()?,
        size,
    })
}

fn artifact_to_wire(Artifact { url, sha256 }: &Artifact) -> pb::Artifact {
    pb::Artifact { url: url.clone(), sha256: sha256.as_bytes().to_vec().into() }
}

fn artifact_from_wire(field: &str, pb::Artifact { url, sha256 }: pb::Artifact) -> Result<Artifact, WireError> {
    Ok(Artifact { sha256: digest(&format!("{field}.sha256"), &sha256)?, url })
}

fn digest(field: &str, bytes: &[u8]) -> Result<Digest, WireError> {
    Digest::try_from(bytes).map_err(|e| WireError::field(field, e))
}

#[cfg(test)]
mod tests;
