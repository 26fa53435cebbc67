//! The binary, run against real databases. One module for each promise; [`support`] is the harness that all of them use.

mod cluster;
mod commands;
mod damage;
mod export;
mod faults;
mod live;
mod postgres_backup;
mod postgres_cluster;
mod postgres_container;
mod postgres_counts;
mod postgres_edges;
mod postgres_export;
mod postgres_failures;
mod postgres_in_place;
mod postgres_locks;
mod postgres_restore;
mod postgres_scan;
mod postgres_sweep;
mod postgres_tls;
mod postgres_verify;
mod postgres_versions;
mod postgres_world;
mod replace;
mod roundtrip;
mod snapshot;
mod support;
