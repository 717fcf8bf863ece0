//! Real images must be accepted, hostile ones refused for the right reason, and
//! no bytes at all may make the check panic or run away.

#![expect(
    clippy::cast_possible_truncation,
    reason = "images made here are small"
)]

mod build;
mod hostile_data;
mod hostile_tables;
mod hostile_tree;
mod hostile_xattrs;
mod mutate;
mod real;
mod tar;
mod tools;
