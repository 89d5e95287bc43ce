//! `windlass-agent`: makes this machine what its EdgeNode says. Thin: parses arguments and calls [`windlass::agent`].

fn main() {}
