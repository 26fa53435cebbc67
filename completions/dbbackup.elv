
use builtin;
use str;

set edit:completion:arg-completer[dbbackup] = {|@words|
    fn spaces {|n|
        builtin:repeat $n ' ' | str:join ''
    }
    fn cand {|text desc|
        edit:complex-candidate $text &display=$text' '(spaces (- 14 (wcswidth $text)))$desc
    }
    var command = 'dbbackup'
    for word $words[1..-1] {
        if (str:has-prefix $word '-') {
            break
        }
        set command = $command';'$word
    }
    var completions = [
        &'dbbackup'= {
            cand -c 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --config 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --store 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration''s]'
            cand --color 'Use colours'
            cand --lock-wait 'How long to wait for another run''s lock, as in 10m [default: not at all]'
            cand --json 'Print one JSON document on stdout'
            cand -q 'Print nothing where all went well'
            cand --quiet 'Print nothing where all went well'
            cand -v 'Say more (repeatable)'
            cand --verbose 'Say more (repeatable)'
            cand --no-progress 'Draw no progress bar'
            cand -V 'Print the version; with -v what is built in'
            cand --version 'Print the version; with -v what is built in'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand backup 'Back up what is named, or every enabled source'
            cand list 'List backups, newest first'
            cand show 'Show everything about one backup'
            cand verify 'Prove that backups are what was written, and that they restore'
            cand restore 'Put a backup back, to where it came from or elsewhere'
            cand cleanup 'Remove what the retention policy does not keep'
            cand pin 'Keep backups from being removed by cleanup'
            cand unpin 'Let cleanup remove backups again that were pinned'
            cand delete 'Delete backups by their ids'
            cand status 'Tell whether every source is fresh and proven'
            cand stats 'Show how many backups there are, how large, and how they grow'
            cand guard 'Back up and verify, run a program, and know the way back if it fails'
            cand cat 'Write the decoded dump of a backup to stdout'
            cand export 'Write tables of a backup as CSV or JSON files, without restoring it'
            cand doctor 'Say whether a backup would succeed, and if not, why and what to do'
            cand init 'Write a first configuration from what is found on this machine'
            cand completions 'Print the completions for a shell'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'dbbackup;backup'= {
            cand -j 'How many sources at once [default: `jobs` in [backup], or 1]'
            cand --jobs 'How many sources at once [default: `jobs` in [backup], or 1]'
            cand --label 'Why this backup is made: manual, daily, pre-upgrade, any word'
            cand --description 'Free text to keep with it'
            cand --tag 'A key and value to keep with it (repeatable)'
            cand --as 'Name the source so (with one path or address)'
            cand --kind 'What kind of source an argument is that the configuration does not know [default: found out]'
            cand -c 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --config 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --store 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration''s]'
            cand --color 'Use colours'
            cand --lock-wait 'How long to wait for another run''s lock, as in 10m [default: not at all]'
            cand --all 'Every enabled source of the configuration: what no argument means, too, said outright'
            cand --pin 'Never let cleanup remove it'
            cand -n 'Say what would be done, and do nothing'
            cand --dry-run 'Say what would be done, and do nothing'
            cand --json 'Print one JSON document on stdout'
            cand -q 'Print nothing where all went well'
            cand --quiet 'Print nothing where all went well'
            cand -v 'Say more (repeatable)'
            cand --verbose 'Say more (repeatable)'
            cand --no-progress 'Draw no progress bar'
            cand -V 'Print the version; with -v what is built in'
            cand --version 'Print the version; with -v what is built in'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'dbbackup;list'= {
            cand --label 'Only this label'
            cand --tag 'Only with this key and value (repeatable)'
            cand --status 'Which attempts'
            cand --since 'Only those made since then: 7d, 2026-11-20'
            cand --limit 'At most so many'
            cand -c 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --config 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --store 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration''s]'
            cand --color 'Use colours'
            cand --lock-wait 'How long to wait for another run''s lock, as in 10m [default: not at all]'
            cand --json 'Print one JSON document on stdout'
            cand -q 'Print nothing where all went well'
            cand --quiet 'Print nothing where all went well'
            cand -v 'Say more (repeatable)'
            cand --verbose 'Say more (repeatable)'
            cand --no-progress 'Draw no progress bar'
            cand -V 'Print the version; with -v what is built in'
            cand --version 'Print the version; with -v what is built in'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'dbbackup;show'= {
            cand -c 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --config 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --store 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration''s]'
            cand --color 'Use colours'
            cand --lock-wait 'How long to wait for another run''s lock, as in 10m [default: not at all]'
            cand --contents 'List its tables with their rows, or its files'
            cand --json 'Print one JSON document on stdout'
            cand -q 'Print nothing where all went well'
            cand --quiet 'Print nothing where all went well'
            cand -v 'Say more (repeatable)'
            cand --verbose 'Say more (repeatable)'
            cand --no-progress 'Draw no progress bar'
            cand -V 'Print the version; with -v what is built in'
            cand --version 'Print the version; with -v what is built in'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'dbbackup;verify'= {
            cand --level 'checksum: the stored bytes are those written; content: it decodes, is sound inside, and equal to the manifest; restore: a trial restore'
            cand -c 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --config 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --store 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration''s]'
            cand --color 'Use colours'
            cand --lock-wait 'How long to wait for another run''s lock, as in 10m [default: not at all]'
            cand --all 'Every backup of the sources named, or of all'
            cand --json 'Print one JSON document on stdout'
            cand -q 'Print nothing where all went well'
            cand --quiet 'Print nothing where all went well'
            cand -v 'Say more (repeatable)'
            cand --verbose 'Say more (repeatable)'
            cand --no-progress 'Draw no progress bar'
            cand -V 'Print the version; with -v what is built in'
            cand --version 'Print the version; with -v what is built in'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'dbbackup;restore'= {
            cand --to 'Restore to this path, database (by name) or postgresql:// address instead'
            cand --table 'PostgreSQL: only this table, with its indexes and constraints, to another database (repeatable)'
            cand --path 'Files: only what matches, and all below it, to another directory (repeatable); quote it: --path ''img/*.png'''
            cand -j 'PostgreSQL: how many jobs pg_restore may use [default: one for each core]'
            cand --jobs 'PostgreSQL: how many jobs pg_restore may use [default: one for each core]'
            cand -c 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --config 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --store 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration''s]'
            cand --color 'Use colours'
            cand --lock-wait 'How long to wait for another run''s lock, as in 10m [default: not at all]'
            cand -y 'Do not ask'
            cand --yes 'Do not ask'
            cand -n 'Say what would be done and lost, and do nothing'
            cand --dry-run 'Say what would be done and lost, and do nothing'
            cand --no-safety-backup 'Do not back up what is replaced'
            cand --in-place 'PostgreSQL: empty and fill the database itself, in one transaction, in place of filling a new one that takes its name'
            cand --no-owner 'PostgreSQL, files: everything is to belong to the role or user that restores; owners of the backup need not be there'
            cand --no-tablespaces 'PostgreSQL: everything goes into the database''s own tablespace; those of the backup need not be there'
            cand --json 'Print one JSON document on stdout'
            cand -q 'Print nothing where all went well'
            cand --quiet 'Print nothing where all went well'
            cand -v 'Say more (repeatable)'
            cand --verbose 'Say more (repeatable)'
            cand --no-progress 'Draw no progress bar'
            cand -V 'Print the version; with -v what is built in'
            cand --version 'Print the version; with -v what is built in'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'dbbackup;cleanup'= {
            cand --keep-last 'Keep the newest N'
            cand --keep-hourly 'Keep the newest of each of the last N hours that have one'
            cand --keep-daily '… days (UTC)'
            cand --keep-weekly '… ISO weeks'
            cand --keep-monthly '… months'
            cand --keep-yearly '… years'
            cand --keep-within 'Keep all made within this time before the newest, as in 48h'
            cand --max-age 'Remove what is older; a bare number is days'
            cand --max-count 'Remove the oldest beyond so many'
            cand --max-size 'Remove the oldest beyond so many bytes, as in ''20 GiB'''
            cand --min-keep 'Keep the newest N good ones whatever the rules say [default: 1]'
            cand -c 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --config 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --store 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration''s]'
            cand --color 'Use colours'
            cand --lock-wait 'How long to wait for another run''s lock, as in 10m [default: not at all]'
            cand -n 'Say what would be removed, and remove nothing'
            cand --dry-run 'Say what would be removed, and remove nothing'
            cand --force 'Even where the newest backup is far smaller than the one before'
            cand --json 'Print one JSON document on stdout'
            cand -q 'Print nothing where all went well'
            cand --quiet 'Print nothing where all went well'
            cand -v 'Say more (repeatable)'
            cand --verbose 'Say more (repeatable)'
            cand --no-progress 'Draw no progress bar'
            cand -V 'Print the version; with -v what is built in'
            cand --version 'Print the version; with -v what is built in'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'dbbackup;pin'= {
            cand -c 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --config 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --store 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration''s]'
            cand --color 'Use colours'
            cand --lock-wait 'How long to wait for another run''s lock, as in 10m [default: not at all]'
            cand --json 'Print one JSON document on stdout'
            cand -q 'Print nothing where all went well'
            cand --quiet 'Print nothing where all went well'
            cand -v 'Say more (repeatable)'
            cand --verbose 'Say more (repeatable)'
            cand --no-progress 'Draw no progress bar'
            cand -V 'Print the version; with -v what is built in'
            cand --version 'Print the version; with -v what is built in'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'dbbackup;unpin'= {
            cand -c 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --config 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --store 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration''s]'
            cand --color 'Use colours'
            cand --lock-wait 'How long to wait for another run''s lock, as in 10m [default: not at all]'
            cand --json 'Print one JSON document on stdout'
            cand -q 'Print nothing where all went well'
            cand --quiet 'Print nothing where all went well'
            cand -v 'Say more (repeatable)'
            cand --verbose 'Say more (repeatable)'
            cand --no-progress 'Draw no progress bar'
            cand -V 'Print the version; with -v what is built in'
            cand --version 'Print the version; with -v what is built in'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'dbbackup;delete'= {
            cand -c 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --config 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --store 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration''s]'
            cand --color 'Use colours'
            cand --lock-wait 'How long to wait for another run''s lock, as in 10m [default: not at all]'
            cand -y 'Do not ask'
            cand --yes 'Do not ask'
            cand --force 'A pinned backup, or a source''s last good one, too'
            cand --json 'Print one JSON document on stdout'
            cand -q 'Print nothing where all went well'
            cand --quiet 'Print nothing where all went well'
            cand -v 'Say more (repeatable)'
            cand --verbose 'Say more (repeatable)'
            cand --no-progress 'Draw no progress bar'
            cand -V 'Print the version; with -v what is built in'
            cand --version 'Print the version; with -v what is built in'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'dbbackup;status'= {
            cand --expect-every 'How old the newest good backup may be, as in 8d [default: expect_every of each source, or 26h]'
            cand --prometheus 'Write metrics to this file, for the textfile collector of Prometheus'
            cand -c 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --config 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --store 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration''s]'
            cand --color 'Use colours'
            cand --lock-wait 'How long to wait for another run''s lock, as in 10m [default: not at all]'
            cand --nagios 'Print the one line of a Nagios plug-in, with performance data'
            cand --json 'Print one JSON document on stdout'
            cand -q 'Print nothing where all went well'
            cand --quiet 'Print nothing where all went well'
            cand -v 'Say more (repeatable)'
            cand --verbose 'Say more (repeatable)'
            cand --no-progress 'Draw no progress bar'
            cand -V 'Print the version; with -v what is built in'
            cand --version 'Print the version; with -v what is built in'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'dbbackup;stats'= {
            cand -c 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --config 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --store 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration''s]'
            cand --color 'Use colours'
            cand --lock-wait 'How long to wait for another run''s lock, as in 10m [default: not at all]'
            cand --json 'Print one JSON document on stdout'
            cand -q 'Print nothing where all went well'
            cand --quiet 'Print nothing where all went well'
            cand -v 'Say more (repeatable)'
            cand --verbose 'Say more (repeatable)'
            cand --no-progress 'Draw no progress bar'
            cand -V 'Print the version; with -v what is built in'
            cand --version 'Print the version; with -v what is built in'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'dbbackup;guard'= {
            cand --level 'How the backups are verified before the program is run'
            cand --label 'The label of the backups'
            cand --description 'Free text to keep with them'
            cand --tag 'A key and value to keep with them (repeatable)'
            cand -c 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --config 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --store 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration''s]'
            cand --color 'Use colours'
            cand --lock-wait 'How long to wait for another run''s lock, as in 10m [default: not at all]'
            cand --restore-on-failure 'If the program fails, put everything back, without asking'
            cand --pin 'Never let cleanup remove them'
            cand --json 'Print one JSON document on stdout'
            cand -q 'Print nothing where all went well'
            cand --quiet 'Print nothing where all went well'
            cand -v 'Say more (repeatable)'
            cand --verbose 'Say more (repeatable)'
            cand --no-progress 'Draw no progress bar'
            cand -V 'Print the version; with -v what is built in'
            cand --version 'Print the version; with -v what is built in'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'dbbackup;cat'= {
            cand -c 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --config 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --store 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration''s]'
            cand --color 'Use colours'
            cand --lock-wait 'How long to wait for another run''s lock, as in 10m [default: not at all]'
            cand --json 'Print one JSON document on stdout'
            cand -q 'Print nothing where all went well'
            cand --quiet 'Print nothing where all went well'
            cand -v 'Say more (repeatable)'
            cand --verbose 'Say more (repeatable)'
            cand --no-progress 'Draw no progress bar'
            cand -V 'Print the version; with -v what is built in'
            cand --version 'Print the version; with -v what is built in'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'dbbackup;export'= {
            cand --format 'The format of the files'
            cand --to 'The directory for the files; made where it is missing'
            cand --table 'Only this table; without a schema: of that name in any (repeatable)'
            cand -c 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --config 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --store 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration''s]'
            cand --color 'Use colours'
            cand --lock-wait 'How long to wait for another run''s lock, as in 10m [default: not at all]'
            cand --overwrite 'Replace files that are there'
            cand --json 'Print one JSON document on stdout'
            cand -q 'Print nothing where all went well'
            cand --quiet 'Print nothing where all went well'
            cand -v 'Say more (repeatable)'
            cand --verbose 'Say more (repeatable)'
            cand --no-progress 'Draw no progress bar'
            cand -V 'Print the version; with -v what is built in'
            cand --version 'Print the version; with -v what is built in'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'dbbackup;doctor'= {
            cand -c 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --config 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --store 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration''s]'
            cand --color 'Use colours'
            cand --lock-wait 'How long to wait for another run''s lock, as in 10m [default: not at all]'
            cand --json 'Print one JSON document on stdout'
            cand -q 'Print nothing where all went well'
            cand --quiet 'Print nothing where all went well'
            cand -v 'Say more (repeatable)'
            cand --verbose 'Say more (repeatable)'
            cand --no-progress 'Draw no progress bar'
            cand -V 'Print the version; with -v what is built in'
            cand --version 'Print the version; with -v what is built in'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'dbbackup;init'= {
            cand -c 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --config 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --store 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration''s]'
            cand --color 'Use colours'
            cand --lock-wait 'How long to wait for another run''s lock, as in 10m [default: not at all]'
            cand --json 'Print one JSON document on stdout'
            cand -q 'Print nothing where all went well'
            cand --quiet 'Print nothing where all went well'
            cand -v 'Say more (repeatable)'
            cand --verbose 'Say more (repeatable)'
            cand --no-progress 'Draw no progress bar'
            cand -V 'Print the version; with -v what is built in'
            cand --version 'Print the version; with -v what is built in'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'dbbackup;completions'= {
            cand -c 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --config 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]'
            cand --store 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration''s]'
            cand --color 'Use colours'
            cand --lock-wait 'How long to wait for another run''s lock, as in 10m [default: not at all]'
            cand --json 'Print one JSON document on stdout'
            cand -q 'Print nothing where all went well'
            cand --quiet 'Print nothing where all went well'
            cand -v 'Say more (repeatable)'
            cand --verbose 'Say more (repeatable)'
            cand --no-progress 'Draw no progress bar'
            cand -V 'Print the version; with -v what is built in'
            cand --version 'Print the version; with -v what is built in'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'dbbackup;help'= {
            cand backup 'Back up what is named, or every enabled source'
            cand list 'List backups, newest first'
            cand show 'Show everything about one backup'
            cand verify 'Prove that backups are what was written, and that they restore'
            cand restore 'Put a backup back, to where it came from or elsewhere'
            cand cleanup 'Remove what the retention policy does not keep'
            cand pin 'Keep backups from being removed by cleanup'
            cand unpin 'Let cleanup remove backups again that were pinned'
            cand delete 'Delete backups by their ids'
            cand status 'Tell whether every source is fresh and proven'
            cand stats 'Show how many backups there are, how large, and how they grow'
            cand guard 'Back up and verify, run a program, and know the way back if it fails'
            cand cat 'Write the decoded dump of a backup to stdout'
            cand export 'Write tables of a backup as CSV or JSON files, without restoring it'
            cand doctor 'Say whether a backup would succeed, and if not, why and what to do'
            cand init 'Write a first configuration from what is found on this machine'
            cand completions 'Print the completions for a shell'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'dbbackup;help;backup'= {
        }
        &'dbbackup;help;list'= {
        }
        &'dbbackup;help;show'= {
        }
        &'dbbackup;help;verify'= {
        }
        &'dbbackup;help;restore'= {
        }
        &'dbbackup;help;cleanup'= {
        }
        &'dbbackup;help;pin'= {
        }
        &'dbbackup;help;unpin'= {
        }
        &'dbbackup;help;delete'= {
        }
        &'dbbackup;help;status'= {
        }
        &'dbbackup;help;stats'= {
        }
        &'dbbackup;help;guard'= {
        }
        &'dbbackup;help;cat'= {
        }
        &'dbbackup;help;export'= {
        }
        &'dbbackup;help;doctor'= {
        }
        &'dbbackup;help;init'= {
        }
        &'dbbackup;help;completions'= {
        }
        &'dbbackup;help;help'= {
        }
    ]
    $completions[$command]
}
