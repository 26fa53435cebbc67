//! Verifying PostgreSQL backups: what is damaged is found, what can't be tried is said to be so, and a drill leaves nothing behind and reaches nothing.
