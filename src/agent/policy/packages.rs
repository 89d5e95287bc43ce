//! Whether a package may be installed or removed: installers run with all rights, so that only what the policy lists
//! word by word does. Pure.

use super::{
    InForce,
    file::{AllowedPackage, KindOfResource as Kind},
};
use crate::{
    agent::product::Product,
    model::{Digest, Installer, PackageName, ProductCode},
};

impl InForce {
    pub(super) fn install(&self, name: &PackageName, installer: &Installer) -> Result<(), String> {
        let digest = installer.artifact().sha256;
        let fits = |allowed: &AllowedPackage| {
            let is_that = allowed.is_called(name) && allowed.has(&digest);
            is_that
                && match installer {
                    Installer::Msi { artifact: _, product_code, version: _, properties } => {
                        allowed.is_of(Some(product_code))
                            && properties.iter().all(|(property, _)| allowed.properties.contains(property))
                    }
                    Installer::Exe { artifact: _, arguments, uninstall, detect: _, success_codes: _ } => {
                        allowed.is_of(None)
                            && *arguments == allowed.arguments
                            && (uninstall.is_empty() || *uninstall == allowed.uninstall)
                    }
                }
        };
        self.package(fits)
    }

    /// Of what is installed its name and product code are known, or the program that removes it.
    pub(super) fn uninstall(&self, name: &PackageName, product: &Product) -> Result<(), String> {
        self.package(|allowed| {
            allowed.is_called(name)
                && match product {
                    Product::Msi(code) => allowed.is_of(Some(code)),
                    Product::Exe { detect: _, uninstall, success_codes: _ } => *uninstall == allowed.uninstall,
                }
        })
    }

    fn package(&self, fits: impl Fn(&AllowedPackage) -> bool) -> Result<(), String> {
        self.kind(&[Kind::Packages])?;
        if self.rules.packages.any || self.rules.packages.allow.iter().any(fits) {
            return Ok(());
        }
        let why = "no package is listed whose name, product code, digest and options are these";
        Err(self.to_allow(why, "packages.allow"))
    }
}

impl AllowedPackage {
    fn is_called(&self, name: &PackageName) -> bool {
        self.name.as_ref().is_none_or(|pattern| pattern.fits(name.as_str()))
    }

    fn is_of(&self, code: Option<&ProductCode>) -> bool {
        self.product_code.as_ref().is_none_or(|text| ProductCode::parse(text).ok().as_ref() == code)
    }

    fn has(&self, digest: &Digest) -> bool {
        self.sha256.is_empty() || self.sha256.iter().any(|text| Digest::from_hex(text).as_ref() == Ok(digest))
    }
}
