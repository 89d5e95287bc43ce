//! Tests of the supervisor's machine: a table of situations, and a property over any of them.

mod managed;
mod policy;
mod property;
mod situations;
mod world;
