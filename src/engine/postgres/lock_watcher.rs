//! Watches who keeps a backup waiting. A second connection checks now and then which sessions the
//! backup's session and its programs wait for. It ends a wait that the user interrupts, and one of
//! a program that takes too long: `pg_dump` gives up on locks of tables by itself, but waits for
//! ever for a view whose definition it reads.

use super::connect::PostgresSession;
use crate::error::Result;
use crate::interrupt;
use postgres::Client;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The interval of the checks.
const EVERY: Duration = Duration::from_millis(500);

/// Watches until it is dropped. It connects only after the first interval, so a run that never
/// waits has one session less.
pub struct LockWatcher {
    shared: Arc<WatcherShared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct WatcherShared {
    state: Mutex<WatcherState>,
    wake: Condvar,
}

#[derive(Default)]
struct WatcherState {
    stop: bool,
    /// The name of our programs' sessions.
    token: Option<String>,
    blockers: Option<String>,
    ended_a_wait: bool,
}

impl LockWatcher {
    /// Watches the session. No program waits for longer than `patience`.
    pub fn start(
        session: &mut PostgresSession,
        database: &str,
        patience: Duration,
    ) -> Result<LockWatcher> {
        let row = session
            .client
            .query_one("SELECT pg_catalog.pg_backend_pid()", &[]);
        let pid: i32 = row
            .map_err(|error| super::explain_error(&error, "asking for the session's number"))?
            .get(0);
        let shared = Arc::new(WatcherShared::default());
        let (reached, database, watched) = (
            session.reached.clone(),
            database.to_owned(),
            Arc::clone(&shared),
        );
        let cancel = session.client.cancel_token();
        let thread = std::thread::spawn(move || {
            let mut client: Option<Client> = None;
            let mut since: Option<Instant> = None;
            while watched.sleep() {
                if interrupt::requested() {
                    // The session may be waiting for a lock, and nothing else notices the interrupt
                    // then.
                    reached.cancel(&cancel);
                }
                if client.is_none() {
                    client = reached.reconnect(&database, "dbbackup").ok();
                }
                let Some(connected) = &mut client else { return };
                let token = watched.state().token.clone();
                let Some(who) = find_blockers(connected, pid, token.as_deref()) else {
                    since = None;
                    continue;
                };
                watched.state().blockers = Some(who);
                if since.get_or_insert_with(Instant::now).elapsed() >= patience {
                    watched.state().ended_a_wait = true;
                    let _ = connected.execute(CANCEL, &[&token]);
                }
            }
        });
        Ok(LockWatcher {
            shared,
            thread: Some(thread),
        })
    }

    /// Watches the sessions of this name, too.
    pub fn watch_programs(&self, token: &str) {
        self.shared.state().token = Some(token.to_owned());
    }

    /// The sessions that were waited for last.
    pub fn blockers(&self) -> Option<String> {
        self.shared.state().blockers.clone()
    }

    /// Whether a program waited for too long and was ended.
    pub fn has_ended_wait(&self) -> bool {
        self.shared.state().ended_a_wait
    }
}

impl WatcherShared {
    fn state(&self) -> MutexGuard<'_, WatcherState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps for an interval; returns false when the watch is over.
    fn sleep(&self) -> bool {
        let state = self.state();
        let (state, _) = self
            .wake
            .wait_timeout_while(state, EVERY, |state| !state.stop)
            .unwrap_or_else(PoisonError::into_inner);
        !state.stop
    }
}

impl Drop for LockWatcher {
    fn drop(&mut self) {
        self.shared.state().stop = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Describes each blocker: `blocked by pid 4242 (alice, …): ALTER TABLE …`.
fn find_blockers(client: &mut Client, pid: i32, token: Option<&str>) -> Option<String> {
    let sessions = client.query(SESSIONS, &[&pid, &token]).ok()?;
    let prepared = client.query(PREPARED, &[&pid, &token]).ok()?;
    let found: Vec<String> = sessions
        .iter()
        .chain(&prepared)
        .map(|row| format!("blocked by {}", row.get::<_, String>(0)))
        .collect();
    (!found.is_empty()).then(|| found.join("; "))
}

const CANCEL: &str = "SELECT pg_catalog.pg_cancel_backend(pid) FROM pg_catalog.pg_stat_activity \
                      WHERE application_name = $1";

/// A role without `pg_monitor` sees of another role's session only who it is.
const SESSIONS: &str = "
SELECT DISTINCT pg_catalog.format('pid %s (%s', a.pid, coalesce(a.usename::text, a.backend_type, \
                        'a process of the server'))
       || coalesce(', ' || a.state, '')
       || coalesce(', its query began ' || pg_catalog.to_char(a.query_start AT TIME ZONE 'UTC', \
                        'YYYY-MM-DD HH24:MI:SS') || ' UTC', '')
       || coalesce(': ' || pg_catalog.left(pg_catalog.regexp_replace(nullif(a.query, \
                        '<insufficient privilege>'), '\\s+', ' ', 'g'), 80), '') || ')'
FROM pg_catalog.pg_stat_activity w, pg_catalog.unnest(pg_catalog.pg_blocking_pids(w.pid)) AS b(pid)
JOIN pg_catalog.pg_stat_activity a ON a.pid = b.pid
WHERE (w.pid = $1 OR w.application_name = $2) AND a.pid <> $1 ORDER BY 1";

/// Prepared transactions have no process; what they hold is found by the table.
const PREPARED: &str = "
SELECT DISTINCT pg_catalog.format('the prepared transaction `%s` (%s, since %s UTC)', p.gid, \
                        p.owner,
                                  pg_catalog.to_char(p.prepared AT TIME ZONE 'UTC', 'YYYY-MM-DD \
                        HH24:MI:SS'))
FROM pg_catalog.pg_stat_activity w JOIN pg_catalog.pg_locks wanted ON wanted.pid = w.pid AND NOT \
                        wanted.granted
JOIN pg_catalog.pg_locks held ON held.database = wanted.database AND held.relation = \
                        wanted.relation AND held.granted
JOIN pg_catalog.pg_locks own ON own.virtualtransaction = held.virtualtransaction AND own.pid IS \
                        NULL AND held.pid IS NULL
JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = own.transactionid
WHERE (w.pid = $1 OR w.application_name = $2) AND 0 = ANY (pg_catalog.pg_blocking_pids(w.pid)) \
                        ORDER BY 1";
