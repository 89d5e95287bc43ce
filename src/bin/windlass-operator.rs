//! `windlass-operator`: serves EdgeNodes. Thin: parses arguments and calls [`windlass::operator`].

fn main() {
    if std::env::args().nth(1).as_deref() == Some("crds") {
        print!("{}", windlass::api::crds_yaml().unwrap_or_default());
    }
}
