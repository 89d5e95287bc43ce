//! A key of the registry, in its one spelling. Pure.

use std::fmt;

use super::{Hive, RegistryPlace, View};

/// A key below a hive: what holds values and other keys.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegistryKey(RegistryPlace);

impl RegistryKey {
    /// The hive that it lies in.
    pub fn hive(&self) -> Hive {
        self.0.hive()
    }

    /// The key below its hive, such as `SOFTWARE\Acme`.
    pub fn key(&self) -> &str {
        self.0.key()
    }

    /// The key with its hive, such as `HKLM\SOFTWARE\Acme`.
    pub fn path(&self) -> String {
        self.0.path()
    }

    /// Which programs see it there.
    pub fn view(&self) -> View {
        self.0.view()
    }

    /// What all spellings of one key share: what the identities of its values and of the keys below it begin
    /// with, before a `\`.
    pub fn identity(&self) -> String {
        self.0.identity().trim_end_matches('\\').to_owned()
    }

    /// The key that it lies in; `None` where that is the hive.
    pub fn parent(&self) -> Option<Self> {
        let (parent, _) = self.0.key.rsplit_once('\\')?;
        // Programs of 32 bits may share it though they do not share this one.
        RegistryPlace::parse(&format!("{}\\{parent}", self.hive().as_str()), "", self.view()).ok().map(Self)
    }
}

impl RegistryPlace {
    /// The key that it is a value of.
    pub fn holder(&self) -> RegistryKey {
        RegistryKey(Self { name: String::new(), ..self.clone() })
    }
}

impl fmt::Display for RegistryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = match self.view() {
            View::Bits64 => "",
            View::Bits32 => " (32-bit)",
        };
        write!(f, "{}{bits}", self.path())
    }
}

impl fmt::Debug for RegistryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use View::{Bits32, Bits64};

    use super::*;

    fn holder(key: &str, view: View) -> RegistryKey {
        RegistryPlace::parse(key, "Line", view).expect(key).holder()
    }

    #[test]
    fn keys_end_before_the_hive() {
        let key = holder(r"HKLM\SOFTWARE\Acme\Press", Bits64);
        let above: Vec<String> = std::iter::successors(key.parent(), RegistryKey::parent).map(|k| k.path()).collect();
        assert_eq!(above, [r"HKLM\SOFTWARE\Acme", r"HKLM\SOFTWARE"]);
        assert_eq!(key.to_string(), r"HKLM\SOFTWARE\Acme\Press");
    }

    #[test]
    fn a_key_that_all_programs_share_holds_one_that_they_do_not() {
        let key = holder(r"HKLM\SOFTWARE\Classes\CLSID\{1}", Bits32);
        let parent = key.parent().expect("CLSID");
        assert_eq!((parent.view(), parent.parent().map(|k| k.view())), (Bits32, Some(Bits64)));
        assert_eq!(holder(r"HKLM\SOFTWARE\Acme", Bits32).parent().map(|k| k.view()), Some(Bits32));
    }

    #[test]
    fn what_lies_in_a_key_has_its_identity_before_its_own() {
        let key = holder(r"HKLM\SOFTWARE\Acme", Bits32);
        assert_eq!(key.identity(), r"hklm32\software\acme");
        let value = RegistryPlace::parse(r"HKLM\Software\ACME", "", Bits32).expect("place");
        assert_eq!(value.identity(), format!(r"{}\\", key.identity()));
        assert_eq!(value.holder(), holder(r"HKLM\Software\ACME", Bits32));
        assert_ne!(key, holder(r"HKLM\SOFTWARE\Acme", Bits64));
    }
}
