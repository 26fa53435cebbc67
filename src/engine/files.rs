//! Directories and files: a tree as one tar, the same bytes for the same tree, and a restore that
//! never writes outside of its target.
//!
//! What happens where: [`walk`] finds what is to be saved, by its [`patterns`], each at its
//! [`place`]; [`source`] saves one thing after another, each by the rules of [`save`] and
//! [`sqlite`], as a [`member`] of the [`tar`] (the [`archive`]) and a line of the [`listing`], or
//! copies it where an earlier backup has it ([`base_tree`]). [`content`] reads an
//! archive and compares it with that list; [`unpack`] writes its members below a directory,
//! [`destination`] does so beside a target, [`readback`] examines what came out, and [`swap`]
//! exchanges the old for the new; [`differences`] says beforehand what that would change.

mod archive;
pub mod base_tree;
pub mod content;
pub mod destination;
pub mod differences;
mod embedded;
pub mod listing;
pub mod member;
mod meta;
mod names;
pub mod patterns;
mod place;
mod readback;
mod save;
pub mod source;
mod sqlite;
pub mod swap;
pub mod tar;
mod unpack;
mod walk;

pub use source::{FilesSource, Plan};
