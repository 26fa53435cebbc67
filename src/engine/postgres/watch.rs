//! Who keeps a backup waiting: a second connection looks, now and then, at whom the first one's
//! session and its programs wait for. A wait that the user interrupts is ended, and so is one of a
//! program that takes too long: `pg_dump` gives up on tables by itself, and waits for ever for a
//! view whose definition it wants to read.

use super::connect::Session;
use crate::error::Result;
use crate::interrupt;
use postgres::Client;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often it looks.
const EVERY: Duration = Duration::from_millis(500);

/// Looks until it is dropped. It connects only when it has looked the first time, so a run that
/// never waits has one session less.
pub struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    stop: bool,
    /// The name of the sessions of our programs.
    token: Option<String>,
    blockers: Option<String>,
    ended_a_wait: bool,
}

impl Watch {
    /// Watches over the session; no program waits for longer than `patience`.
    pub fn start(session: &mut Session, database: &str, patience: Duration) -> Result<Watch> {
        let row = session
            .client
            .query_one("SELECT pg_catalog.pg_backend_pid()", &[]);
        let pid: i32 = row
            .map_err(|error| super::explain(&error, "asking for the session's number"))?
            .get(0);
        let shared = Arc::new(Shared::default());
        let (reached, database, theirs) = (
            session.reached.clone(),
            database.to_owned(),
            Arc::clone(&shared),
        );
        let cancel = session.client.cancel_token();
        let thread = std::thread::spawn(move || {
            let mut client: Option<Client> = None;
            let mut since: Option<Instant> = None;
            while theirs.sleep() {
                if interrupt::requested() {
                    // The session may be waiting for a lock, and nobody else looks up then.
                    reached.cancel(&cancel);
                }
                if client.is_none() {
                    client = reached.reconnect(&database, "dbbackup").ok();
                }
                let Some(connected) = &mut client else { return };
                let token = theirs.state().token.clone();
                let Some(who) = look(connected, pid, token.as_deref()) else {
                    since = None;
                    continue;
                };
                theirs.state().blockers = Some(who);
                if since.get_or_insert_with(Instant::now).elapsed() >= patience {
                    theirs.state().ended_a_wait = true;
                    let _ = connected.execute(CANCEL, &[&token]);
                }
            }
        });
        Ok(Watch {
            shared,
            thread: Some(thread),
        })
    }

    /// Watches over the sessions of this name, too.
    pub fn also(&self, token: &str) {
        self.shared.state().token = Some(token.to_owned());
    }

    /// Who was waited for last.
    pub fn blockers(&self) -> Option<String> {
        self.shared.state().blockers.clone()
    }

    /// Whether a program was kept waiting for too long, and ended.
    pub fn ended_a_wait(&self) -> bool {
        self.shared.state().ended_a_wait
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether to go on.
    fn sleep(&self) -> bool {
        let state = self.state();
        let (state, _) = self
            .wake
            .wait_timeout_while(state, EVERY, |state| !state.stop)
            .unwrap_or_else(PoisonError::into_inner);
        !state.stop
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.state().stop = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// `blocked by pid 4242 (alice, …): ALTER TABLE …`, for each.
fn look(client: &mut Client, pid: i32, token: Option<&str>) -> Option<String> {
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

/// Of another role's session a role without `pg_monitor` sees who it is, and nothing else.
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

/// They have no process; what they hold is found by the table.
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
