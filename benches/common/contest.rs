//! Contenders that have their turns in every round, so that whatever disturbs the machine disturbs
//! all of them, and the tables that compare them.

use super::measure::{self, Cost, median};
use super::{installed, only_file, remove, size};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What takes part, and how it did.
pub struct Contender {
    pub name: String,
    pub command: Box<dyn Fn() -> Command>,
    /// What it needs.
    pub programs: Vec<&'static str>,
    /// The directory for its result, and how the result's name ends; all of it is removed after its
    /// turn, untimed.
    pub dir: PathBuf,
    pub ending: &'static str,
    /// Too slow for every round.
    pub once: bool,
    pub costs: Vec<Cost>,
    pub size: u64,
}

impl Contender {
    pub fn new(
        name: &str,
        programs: &[&'static str],
        dir: &Path,
        ending: &'static str,
        command: impl Fn() -> Command + 'static,
    ) -> Contender {
        let (name, programs, dir) = (name.to_owned(), programs.to_vec(), dir.to_owned());
        Contender {
            name,
            command: Box::new(command),
            programs,
            dir,
            ending,
            once: false,
            costs: Vec::new(),
            size: 0,
        }
    }

    /// Too slow for every round.
    pub fn once(mut self) -> Contender {
        self.once = true;
        self.name.push_str(" (first round only)");
        self
    }

    /// Its turn: `before` is done untimed, and what was written until then is on disk.
    pub fn turn(&mut self, round: u64, before: impl FnOnce()) {
        if self.once && round > 1 {
            return;
        }
        if self.ending == "out" {
            std::fs::create_dir_all(&self.dir).unwrap();
        }
        before();
        measure::settle();
        let cost = measure::cost(&mut (self.command)());
        self.size = only_file(&self.dir, self.ending).map_or(0, |path| size(&path));
        eprintln!("   {:<52} {:7.2} s", self.name, cost.wall.as_secs_f64());
        self.costs.push(cost);
        remove(&self.dir);
    }

    pub fn wall(&self) -> f64 {
        median(self.costs.iter().map(|cost| cost.wall.as_secs_f64())).0
    }

    pub fn memory(&self) -> u64 {
        self.costs.iter().map(|cost| cost.memory).max().unwrap_or(0)
    }
}

/// Contenders that are compared with one of them.
pub struct Table {
    pub title: String,
    pub reference: &'static str,
    pub contenders: Vec<Contender>,
}

impl Table {
    pub fn new(title: &str, reference: &'static str, contenders: Vec<Contender>) -> Table {
        let mut table = Table {
            title: title.to_owned(),
            reference,
            contenders,
        };
        table.leave_out_what_is_not_installed();
        table
    }

    fn leave_out_what_is_not_installed(&mut self) {
        self.contenders.retain(|contender| {
            let missing: Vec<&str> = contender
                .programs
                .iter()
                .copied()
                .filter(|program| !installed(program))
                .collect();
            if !missing.is_empty() {
                println!(
                    "left out, for {} is not installed: {}",
                    missing.join(", "),
                    contender.name
                );
            }
            missing.is_empty()
        });
    }

    pub fn find(&self, name: &str) -> Option<&Contender> {
        self.contenders
            .iter()
            .find(|contender| contender.name == name)
    }

    /// The least of a contender's times, in seconds, as others disturb a machine but never help it.
    pub fn least(&self, name: &str) -> Option<f64> {
        let costs = &self.find(name)?.costs;
        let times = costs.iter().map(|cost| cost.wall.as_secs_f64());
        times.reduce(f64::min)
    }

    pub fn print(&self) {
        println!("\n{}", self.title);
        println!(
            "{:<52} {:>22} {:>8} {:>8} {:>8} {:>10} {:>7} {:>8} {:>9}",
            "", "wall", "", "size", "", "processor", "memory", "written", "elsewhere"
        );
        let reference = self.find(self.reference);
        for contender in &self.contenders {
            let column = |value: fn(&Cost) -> f64| median(contender.costs.iter().map(value));
            let (wall, least, most) = column(|cost| cost.wall.as_secs_f64());
            let ratio = |mine: f64, other: fn(&Contender) -> f64| match reference.map(other) {
                Some(other) if other > 0.0 && mine > 0.0 => format!("({:.2})", mine / other),
                _ => String::new(),
            };
            let mark = if contender.name == self.reference {
                "*"
            } else {
                ""
            };
            println!(
                "{:<52} {:>22} {:>8} {:>8.1} {:>8} {:>10.2} {:>7.0} {:>8.0} {:>8.0}%",
                format!("{}{mark}", contender.name),
                format!("{wall:.2} [{least:.2}-{most:.2}]"),
                ratio(wall, Contender::wall),
                megabytes(contender.size),
                ratio(contender.size as f64, |other| other.size as f64),
                column(|cost| cost.processor.as_secs_f64()).0,
                megabytes(contender.memory()),
                column(|cost| cost.written as f64).0 / 1e6,
                column(|cost| cost.elsewhere).0 * 100.0,
            );
        }
    }
}

/// What the columns of the tables are.
pub fn explain_columns() {
    println!(
        "wall       seconds, the median of the rounds [fastest-slowest]; in brackets after it the \
         ratio to the table's reference (*)
size       MB (a million bytes) of the result, and its ratio to the reference's
processor  seconds of user and system time, child processes included, a server not
memory     MB, the largest resident set of any one process (ru_maxrss of wait4; less than {:.0} \
         can't be told)
written    MB handed to the file system (ru_oublock, which is write_bytes of /proc/PID/io)
elsewhere  the part of all cores that others had meanwhile (a server, the kernel's own threads): \
         well above what the quiet rows have, a
           row is disturbed",
        megabytes(measure::own_memory())
    );
}

pub fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// One aim and what was found.
pub fn aim(what: String, found: String, reached: bool) {
    println!(
        "   {} {what}: {found}",
        if reached {
            "reached    "
        } else {
            "NOT REACHED"
        }
    );
}

/// The contender with the largest memory of those of dbbackup.
pub fn memory_of_ours(tables: &[Table], most: u64) {
    let ours = tables
        .iter()
        .flat_map(|table| &table.contenders)
        .filter(|contender| contender.name.starts_with("dbbackup"));
    if let Some((found, name)) = ours
        .map(|contender| (contender.memory(), &contender.name))
        .max()
    {
        aim(
            format!("peak memory below {most} MB"),
            format!("{:.0} MB ({name})", megabytes(found)),
            found < most * 1_000_000,
        );
    }
}
