//! The catalog: what it reads, and what it says of that.
