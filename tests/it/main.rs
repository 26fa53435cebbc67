//! The binary, run against real databases. One module for each promise; [`support`] is the harness that all of them use.

mod commands;
mod damage;
mod faults;
mod live;
mod replace;
mod roundtrip;
mod snapshot;
mod support;
