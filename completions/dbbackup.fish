# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_dbbackup_global_optspecs
    string join \n c/config= store= identity= json q/quiet v/verbose no-progress color= lock-wait= V/version h/help
end

function __fish_dbbackup_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_dbbackup_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_dbbackup_using_subcommand
    set -l cmd (__fish_dbbackup_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c dbbackup -n "__fish_dbbackup_needs_command" -s c -l config -d 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]' -r -F
complete -c dbbackup -n "__fish_dbbackup_needs_command" -l store -d 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration\'s]' -r
complete -c dbbackup -n "__fish_dbbackup_needs_command" -l identity -d 'File with the private key that opens encrypted backups [default: $DBBACKUP_IDENTITY_FILE, or the configuration\'s]' -r -F
complete -c dbbackup -n "__fish_dbbackup_needs_command" -l color -d 'Use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c dbbackup -n "__fish_dbbackup_needs_command" -l lock-wait -d 'How long to wait for another run\'s lock, as in 10m [default: do not wait]' -r
complete -c dbbackup -n "__fish_dbbackup_needs_command" -l json -d 'Print one JSON document on stdout'
complete -c dbbackup -n "__fish_dbbackup_needs_command" -s q -l quiet -d 'Print nothing if all went well'
complete -c dbbackup -n "__fish_dbbackup_needs_command" -s v -l verbose -d 'Say more (repeatable)'
complete -c dbbackup -n "__fish_dbbackup_needs_command" -l no-progress -d 'Draw no progress bar'
complete -c dbbackup -n "__fish_dbbackup_needs_command" -s V -l version -d 'Print the version; with -v what is built in'
complete -c dbbackup -n "__fish_dbbackup_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dbbackup -n "__fish_dbbackup_needs_command" -f -a "backup" -d 'Back up what is named, or every enabled source'
complete -c dbbackup -n "__fish_dbbackup_needs_command" -f -a "list" -d 'List backups, newest first'
complete -c dbbackup -n "__fish_dbbackup_needs_command" -f -a "show" -d 'Show everything about one backup'
complete -c dbbackup -n "__fish_dbbackup_needs_command" -f -a "verify" -d 'Prove that backups are what was written, and that they restore'
complete -c dbbackup -n "__fish_dbbackup_needs_command" -f -a "copy" -d 'Copy backups to another store'
complete -c dbbackup -n "__fish_dbbackup_needs_command" -f -a "restore" -d 'Put a backup back, to where it came from or elsewhere'
complete -c dbbackup -n "__fish_dbbackup_needs_command" -f -a "cleanup" -d 'Remove what the retention policy does not keep'
complete -c dbbackup -n "__fish_dbbackup_needs_command" -f -a "pin" -d 'Keep backups from being removed by cleanup'
complete -c dbbackup -n "__fish_dbbackup_needs_command" -f -a "unpin" -d 'Let cleanup remove pinned backups again'
complete -c dbbackup -n "__fish_dbbackup_needs_command" -f -a "delete" -d 'Delete backups by their ids'
complete -c dbbackup -n "__fish_dbbackup_needs_command" -f -a "status" -d 'Tell whether every source is fresh and proven'
complete -c dbbackup -n "__fish_dbbackup_needs_command" -f -a "stats" -d 'Show how many backups there are, how large, and how they grow'
complete -c dbbackup -n "__fish_dbbackup_needs_command" -f -a "report" -d 'Write a page of HTML about all sources and stores'
complete -c dbbackup -n "__fish_dbbackup_needs_command" -f -a "guard" -d 'Back up and verify, run a program, and know the way back if it fails'
complete -c dbbackup -n "__fish_dbbackup_needs_command" -f -a "cat" -d 'Write the decoded dump of a backup to stdout'
complete -c dbbackup -n "__fish_dbbackup_needs_command" -f -a "export" -d 'Write tables of a backup as CSV or JSON files, without restoring it'
complete -c dbbackup -n "__fish_dbbackup_needs_command" -f -a "doctor" -d 'Say whether a backup would succeed, and if not, why and what to do'
complete -c dbbackup -n "__fish_dbbackup_needs_command" -f -a "init" -d 'Write a first configuration from what is found on this machine'
complete -c dbbackup -n "__fish_dbbackup_needs_command" -f -a "notify" -d 'Send what waits to be told, or try whether messages arrive'
complete -c dbbackup -n "__fish_dbbackup_needs_command" -f -a "key" -d 'Make keys, and write down what a restore needs'
complete -c dbbackup -n "__fish_dbbackup_needs_command" -f -a "completions" -d 'Print the completions for a shell'
complete -c dbbackup -n "__fish_dbbackup_needs_command" -f -a "help" -d 'Show the help of a command, or a topic'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand backup" -s j -l jobs -d 'How many sources at once [default: `jobs` in [backup], or 1]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand backup" -l label -d 'Why this backup is made: manual, daily, pre-upgrade, any word' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand backup" -l description -d 'Free text to keep with it' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand backup" -l tag -d 'A key and value to keep with it (repeatable)' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand backup" -l as -d 'The name of the source (with one path or address)' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand backup" -l kind -d 'The kind of a source that the configuration does not know [default: recognized]' -r -f -a "sqlite\t'A SQLite database file'
postgres\t'A PostgreSQL database'
files\t'A directory, or a file as it is'"
complete -c dbbackup -n "__fish_dbbackup_using_subcommand backup" -s c -l config -d 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand backup" -l store -d 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration\'s]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand backup" -l identity -d 'File with the private key that opens encrypted backups [default: $DBBACKUP_IDENTITY_FILE, or the configuration\'s]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand backup" -l color -d 'Use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c dbbackup -n "__fish_dbbackup_using_subcommand backup" -l lock-wait -d 'How long to wait for another run\'s lock, as in 10m [default: do not wait]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand backup" -l all -d 'Every enabled source of the configuration, as without an argument'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand backup" -l full -d 'Make fulls, where `incremental` would have made deltas'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand backup" -l reread -d 'Read every file of a tree, although its times say that it is what it was'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand backup" -l pin -d 'Never let cleanup remove it'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand backup" -l plain -d 'Allow a plain backup in a store that holds encrypted ones alone'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand backup" -s n -l dry-run -d 'Say what would be done, and do nothing'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand backup" -l json -d 'Print one JSON document on stdout'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand backup" -s q -l quiet -d 'Print nothing if all went well'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand backup" -s v -l verbose -d 'Say more (repeatable)'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand backup" -l no-progress -d 'Draw no progress bar'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand backup" -s V -l version -d 'Print the version; with -v what is built in'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand backup" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand list" -l label -d 'Only this label' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand list" -l tag -d 'Only with this key and value (repeatable)' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand list" -l status -d 'Which attempts' -r -f -a "ok\t'Good and partial backups'
failed\t'Failed attempts and damaged backups'
all\t'Every attempt'"
complete -c dbbackup -n "__fish_dbbackup_using_subcommand list" -l since -d 'Only those made since then: 7d, 2026-11-20' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand list" -l limit -d 'At most this many' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand list" -s c -l config -d 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand list" -l store -d 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration\'s]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand list" -l identity -d 'File with the private key that opens encrypted backups [default: $DBBACKUP_IDENTITY_FILE, or the configuration\'s]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand list" -l color -d 'Use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c dbbackup -n "__fish_dbbackup_using_subcommand list" -l lock-wait -d 'How long to wait for another run\'s lock, as in 10m [default: do not wait]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand list" -l all-stores -d 'Every store of the configuration, and which of them hold each backup; that of [store] is called `main`'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand list" -l json -d 'Print one JSON document on stdout'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand list" -s q -l quiet -d 'Print nothing if all went well'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand list" -s v -l verbose -d 'Say more (repeatable)'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand list" -l no-progress -d 'Draw no progress bar'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand list" -s V -l version -d 'Print the version; with -v what is built in'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand show" -s c -l config -d 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand show" -l store -d 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration\'s]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand show" -l identity -d 'File with the private key that opens encrypted backups [default: $DBBACKUP_IDENTITY_FILE, or the configuration\'s]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand show" -l color -d 'Use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c dbbackup -n "__fish_dbbackup_using_subcommand show" -l lock-wait -d 'How long to wait for another run\'s lock, as in 10m [default: do not wait]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand show" -l contents -d 'List its tables with their rows, or its files'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand show" -l json -d 'Print one JSON document on stdout'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand show" -s q -l quiet -d 'Print nothing if all went well'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand show" -s v -l verbose -d 'Say more (repeatable)'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand show" -l no-progress -d 'Draw no progress bar'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand show" -s V -l version -d 'Print the version; with -v what is built in'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand verify" -l level -d 'checksum: the stored bytes are those written; content: it decodes, is sound inside, and equal to the manifest; restore: a trial restore' -r -f -a "checksum\t''
content\t''
restore\t''"
complete -c dbbackup -n "__fish_dbbackup_using_subcommand verify" -s c -l config -d 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand verify" -l store -d 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration\'s]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand verify" -l identity -d 'File with the private key that opens encrypted backups [default: $DBBACKUP_IDENTITY_FILE, or the configuration\'s]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand verify" -l color -d 'Use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c dbbackup -n "__fish_dbbackup_using_subcommand verify" -l lock-wait -d 'How long to wait for another run\'s lock, as in 10m [default: do not wait]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand verify" -l all -d 'Every backup of the named sources, or of all sources'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand verify" -l json -d 'Print one JSON document on stdout'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand verify" -s q -l quiet -d 'Print nothing if all went well'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand verify" -s v -l verbose -d 'Say more (repeatable)'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand verify" -l no-progress -d 'Draw no progress bar'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand verify" -s V -l version -d 'Print the version; with -v what is built in'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand copy" -l to -d 'The store that gets them: a name from the configuration, an address, or a directory' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand copy" -l from -d 'The store that has them [default: the one in use]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand copy" -s c -l config -d 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand copy" -l store -d 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration\'s]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand copy" -l identity -d 'File with the private key that opens encrypted backups [default: $DBBACKUP_IDENTITY_FILE, or the configuration\'s]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand copy" -l color -d 'Use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c dbbackup -n "__fish_dbbackup_using_subcommand copy" -l lock-wait -d 'How long to wait for another run\'s lock, as in 10m [default: do not wait]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand copy" -l missing -d 'Every backup that is not there yet, not the newest alone'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand copy" -l full -d 'Make fulls of deltas, so that none there needs another'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand copy" -l plain -d 'Allow plain backups in a store that holds encrypted ones alone'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand copy" -l json -d 'Print one JSON document on stdout'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand copy" -s q -l quiet -d 'Print nothing if all went well'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand copy" -s v -l verbose -d 'Say more (repeatable)'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand copy" -l no-progress -d 'Draw no progress bar'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand copy" -s V -l version -d 'Print the version; with -v what is built in'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand copy" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand restore" -l to -d 'Restore to this path, database (by name) or postgresql:// address instead' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand restore" -l table -d 'PostgreSQL: only this table, with its indexes and constraints, to another database (repeatable)' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand restore" -l path -d 'Files: only what matches, and all below it, to another directory (repeatable); quote it: --path \'img/*.png\'' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand restore" -s j -l jobs -d 'PostgreSQL: how many jobs pg_restore may use [default: one for each core]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand restore" -s c -l config -d 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand restore" -l store -d 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration\'s]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand restore" -l identity -d 'File with the private key that opens encrypted backups [default: $DBBACKUP_IDENTITY_FILE, or the configuration\'s]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand restore" -l color -d 'Use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c dbbackup -n "__fish_dbbackup_using_subcommand restore" -l lock-wait -d 'How long to wait for another run\'s lock, as in 10m [default: do not wait]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand restore" -s y -l yes -d 'Do not ask'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand restore" -s n -l dry-run -d 'Say what would be done and lost, and do nothing'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand restore" -l no-safety-backup -d 'Do not back up what is replaced'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand restore" -l in-place -d 'PostgreSQL: empty and fill the database itself, in one transaction, instead of filling a new one that takes its name'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand restore" -l no-owner -d 'PostgreSQL, files: give everything to the role or user that restores; the owners in the backup need not exist'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand restore" -l no-tablespaces -d 'PostgreSQL: put everything into the database\'s own tablespace; those in the backup need not exist'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand restore" -l untrusted -d 'Use it although no trusted key signed it'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand restore" -l json -d 'Print one JSON document on stdout'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand restore" -s q -l quiet -d 'Print nothing if all went well'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand restore" -s v -l verbose -d 'Say more (repeatable)'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand restore" -l no-progress -d 'Draw no progress bar'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand restore" -s V -l version -d 'Print the version; with -v what is built in'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand restore" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cleanup" -l keep-last -d 'Keep the newest N' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cleanup" -l keep-hourly -d 'Keep the newest of each of the last N hours that have one' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cleanup" -l keep-daily -d '… days (UTC)' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cleanup" -l keep-weekly -d '… ISO weeks' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cleanup" -l keep-monthly -d '… months' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cleanup" -l keep-yearly -d '… years' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cleanup" -l keep-within -d 'Keep all made within this time before the newest, as in 48h' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cleanup" -l max-age -d 'Remove what is older; a bare number is days' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cleanup" -l max-count -d 'Remove the oldest beyond this number' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cleanup" -l max-size -d 'Remove the oldest beyond this size, as in \'20 GiB\'' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cleanup" -l min-keep -d 'Keep the newest N good ones whatever the rules say [default: 1]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cleanup" -s c -l config -d 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cleanup" -l store -d 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration\'s]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cleanup" -l identity -d 'File with the private key that opens encrypted backups [default: $DBBACKUP_IDENTITY_FILE, or the configuration\'s]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cleanup" -l color -d 'Use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cleanup" -l lock-wait -d 'How long to wait for another run\'s lock, as in 10m [default: do not wait]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cleanup" -s n -l dry-run -d 'Say what would be removed, and remove nothing'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cleanup" -l force -d 'Even if the newest backup is far smaller than the one before'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cleanup" -l json -d 'Print one JSON document on stdout'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cleanup" -s q -l quiet -d 'Print nothing if all went well'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cleanup" -s v -l verbose -d 'Say more (repeatable)'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cleanup" -l no-progress -d 'Draw no progress bar'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cleanup" -s V -l version -d 'Print the version; with -v what is built in'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cleanup" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand pin" -s c -l config -d 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand pin" -l store -d 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration\'s]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand pin" -l identity -d 'File with the private key that opens encrypted backups [default: $DBBACKUP_IDENTITY_FILE, or the configuration\'s]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand pin" -l color -d 'Use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c dbbackup -n "__fish_dbbackup_using_subcommand pin" -l lock-wait -d 'How long to wait for another run\'s lock, as in 10m [default: do not wait]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand pin" -l json -d 'Print one JSON document on stdout'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand pin" -s q -l quiet -d 'Print nothing if all went well'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand pin" -s v -l verbose -d 'Say more (repeatable)'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand pin" -l no-progress -d 'Draw no progress bar'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand pin" -s V -l version -d 'Print the version; with -v what is built in'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand pin" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand unpin" -s c -l config -d 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand unpin" -l store -d 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration\'s]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand unpin" -l identity -d 'File with the private key that opens encrypted backups [default: $DBBACKUP_IDENTITY_FILE, or the configuration\'s]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand unpin" -l color -d 'Use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c dbbackup -n "__fish_dbbackup_using_subcommand unpin" -l lock-wait -d 'How long to wait for another run\'s lock, as in 10m [default: do not wait]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand unpin" -l json -d 'Print one JSON document on stdout'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand unpin" -s q -l quiet -d 'Print nothing if all went well'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand unpin" -s v -l verbose -d 'Say more (repeatable)'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand unpin" -l no-progress -d 'Draw no progress bar'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand unpin" -s V -l version -d 'Print the version; with -v what is built in'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand unpin" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand delete" -s c -l config -d 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand delete" -l store -d 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration\'s]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand delete" -l identity -d 'File with the private key that opens encrypted backups [default: $DBBACKUP_IDENTITY_FILE, or the configuration\'s]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand delete" -l color -d 'Use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c dbbackup -n "__fish_dbbackup_using_subcommand delete" -l lock-wait -d 'How long to wait for another run\'s lock, as in 10m [default: do not wait]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand delete" -s y -l yes -d 'Do not ask'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand delete" -l with-dependents -d 'The deltas that are built on them, too'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand delete" -l force -d 'A pinned backup, or a source\'s last good one, too'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand delete" -l json -d 'Print one JSON document on stdout'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand delete" -s q -l quiet -d 'Print nothing if all went well'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand delete" -s v -l verbose -d 'Say more (repeatable)'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand delete" -l no-progress -d 'Draw no progress bar'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand delete" -s V -l version -d 'Print the version; with -v what is built in'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand delete" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand status" -l expect-every -d 'How old the newest good backup may be, as in 8d [default: expect_every of each source, or 26h]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand status" -l prometheus -d 'Write metrics to this file, for the textfile collector of Prometheus' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand status" -s c -l config -d 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand status" -l store -d 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration\'s]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand status" -l identity -d 'File with the private key that opens encrypted backups [default: $DBBACKUP_IDENTITY_FILE, or the configuration\'s]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand status" -l color -d 'Use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c dbbackup -n "__fish_dbbackup_using_subcommand status" -l lock-wait -d 'How long to wait for another run\'s lock, as in 10m [default: do not wait]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand status" -l nagios -d 'Print the one line of a Nagios plug-in, with performance data'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand status" -l notify -d 'Tell who [notify] names what is overdue, not proven or damaged: for a machine that watches the store of another one'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand status" -l json -d 'Print one JSON document on stdout'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand status" -s q -l quiet -d 'Print nothing if all went well'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand status" -s v -l verbose -d 'Say more (repeatable)'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand status" -l no-progress -d 'Draw no progress bar'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand status" -s V -l version -d 'Print the version; with -v what is built in'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand stats" -s c -l config -d 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand stats" -l store -d 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration\'s]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand stats" -l identity -d 'File with the private key that opens encrypted backups [default: $DBBACKUP_IDENTITY_FILE, or the configuration\'s]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand stats" -l color -d 'Use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c dbbackup -n "__fish_dbbackup_using_subcommand stats" -l lock-wait -d 'How long to wait for another run\'s lock, as in 10m [default: do not wait]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand stats" -l json -d 'Print one JSON document on stdout'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand stats" -s q -l quiet -d 'Print nothing if all went well'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand stats" -s v -l verbose -d 'Say more (repeatable)'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand stats" -l no-progress -d 'Draw no progress bar'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand stats" -s V -l version -d 'Print the version; with -v what is built in'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand stats" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand report" -l html -d 'Write the page to this file [default: that of the configuration]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand report" -s c -l config -d 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand report" -l store -d 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration\'s]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand report" -l identity -d 'File with the private key that opens encrypted backups [default: $DBBACKUP_IDENTITY_FILE, or the configuration\'s]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand report" -l color -d 'Use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c dbbackup -n "__fish_dbbackup_using_subcommand report" -l lock-wait -d 'How long to wait for another run\'s lock, as in 10m [default: do not wait]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand report" -l all-stores -d 'Read every store of the configuration, not that in use alone'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand report" -l json -d 'Print one JSON document on stdout'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand report" -s q -l quiet -d 'Print nothing if all went well'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand report" -s v -l verbose -d 'Say more (repeatable)'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand report" -l no-progress -d 'Draw no progress bar'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand report" -s V -l version -d 'Print the version; with -v what is built in'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand report" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand guard" -l level -d 'How the backups are verified before the program is run' -r -f -a "checksum\t''
content\t''
restore\t''"
complete -c dbbackup -n "__fish_dbbackup_using_subcommand guard" -l label -d 'The label of the backups' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand guard" -l description -d 'Free text to keep with them' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand guard" -l tag -d 'A key and value to keep with them (repeatable)' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand guard" -s c -l config -d 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand guard" -l store -d 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration\'s]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand guard" -l identity -d 'File with the private key that opens encrypted backups [default: $DBBACKUP_IDENTITY_FILE, or the configuration\'s]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand guard" -l color -d 'Use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c dbbackup -n "__fish_dbbackup_using_subcommand guard" -l lock-wait -d 'How long to wait for another run\'s lock, as in 10m [default: do not wait]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand guard" -l restore-on-failure -d 'If the program fails, put everything back, without asking'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand guard" -l pin -d 'Never let cleanup remove them'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand guard" -l json -d 'Print one JSON document on stdout'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand guard" -s q -l quiet -d 'Print nothing if all went well'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand guard" -s v -l verbose -d 'Say more (repeatable)'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand guard" -l no-progress -d 'Draw no progress bar'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand guard" -s V -l version -d 'Print the version; with -v what is built in'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand guard" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cat" -s c -l config -d 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cat" -l store -d 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration\'s]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cat" -l identity -d 'File with the private key that opens encrypted backups [default: $DBBACKUP_IDENTITY_FILE, or the configuration\'s]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cat" -l color -d 'Use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cat" -l lock-wait -d 'How long to wait for another run\'s lock, as in 10m [default: do not wait]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cat" -l untrusted -d 'Use it although no trusted key signed it'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cat" -l json -d 'Print one JSON document on stdout'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cat" -s q -l quiet -d 'Print nothing if all went well'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cat" -s v -l verbose -d 'Say more (repeatable)'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cat" -l no-progress -d 'Draw no progress bar'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cat" -s V -l version -d 'Print the version; with -v what is built in'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand cat" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand export" -l format -d 'The format of the files' -r -f -a "csv\t'Comma-separated values (RFC 4180)'
json\t'An array of objects'"
complete -c dbbackup -n "__fish_dbbackup_using_subcommand export" -l to -d 'The directory for the files; made where it is missing' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand export" -l table -d 'Only this table; without a schema: of that name in any (repeatable)' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand export" -s c -l config -d 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand export" -l store -d 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration\'s]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand export" -l identity -d 'File with the private key that opens encrypted backups [default: $DBBACKUP_IDENTITY_FILE, or the configuration\'s]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand export" -l color -d 'Use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c dbbackup -n "__fish_dbbackup_using_subcommand export" -l lock-wait -d 'How long to wait for another run\'s lock, as in 10m [default: do not wait]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand export" -l overwrite -d 'Replace files that are there'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand export" -l untrusted -d 'Use it although no trusted key signed it'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand export" -l json -d 'Print one JSON document on stdout'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand export" -s q -l quiet -d 'Print nothing if all went well'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand export" -s v -l verbose -d 'Say more (repeatable)'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand export" -l no-progress -d 'Draw no progress bar'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand export" -s V -l version -d 'Print the version; with -v what is built in'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand export" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand doctor" -s c -l config -d 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand doctor" -l store -d 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration\'s]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand doctor" -l identity -d 'File with the private key that opens encrypted backups [default: $DBBACKUP_IDENTITY_FILE, or the configuration\'s]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand doctor" -l color -d 'Use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c dbbackup -n "__fish_dbbackup_using_subcommand doctor" -l lock-wait -d 'How long to wait for another run\'s lock, as in 10m [default: do not wait]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand doctor" -l ransomware -d 'Try only what somebody who has taken over this machine could destroy in the store that `--store` names, or in every store: with this machine\'s own keys, on an object made for it'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand doctor" -l json -d 'Print one JSON document on stdout'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand doctor" -s q -l quiet -d 'Print nothing if all went well'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand doctor" -s v -l verbose -d 'Say more (repeatable)'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand doctor" -l no-progress -d 'Draw no progress bar'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand doctor" -s V -l version -d 'Print the version; with -v what is built in'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand init" -s c -l config -d 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand init" -l store -d 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration\'s]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand init" -l identity -d 'File with the private key that opens encrypted backups [default: $DBBACKUP_IDENTITY_FILE, or the configuration\'s]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand init" -l color -d 'Use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c dbbackup -n "__fish_dbbackup_using_subcommand init" -l lock-wait -d 'How long to wait for another run\'s lock, as in 10m [default: do not wait]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand init" -l json -d 'Print one JSON document on stdout'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand init" -s q -l quiet -d 'Print nothing if all went well'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand init" -s v -l verbose -d 'Say more (repeatable)'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand init" -l no-progress -d 'Draw no progress bar'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand init" -s V -l version -d 'Print the version; with -v what is built in'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand init" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand notify" -s c -l config -d 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand notify" -l store -d 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration\'s]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand notify" -l identity -d 'File with the private key that opens encrypted backups [default: $DBBACKUP_IDENTITY_FILE, or the configuration\'s]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand notify" -l color -d 'Use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c dbbackup -n "__fish_dbbackup_using_subcommand notify" -l lock-wait -d 'How long to wait for another run\'s lock, as in 10m [default: do not wait]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand notify" -l test -d 'Send a test message'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand notify" -l json -d 'Print one JSON document on stdout'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand notify" -s q -l quiet -d 'Print nothing if all went well'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand notify" -s v -l verbose -d 'Say more (repeatable)'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand notify" -l no-progress -d 'Draw no progress bar'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand notify" -s V -l version -d 'Print the version; with -v what is built in'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand notify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and not __fish_seen_subcommand_from init prove sheet" -s c -l config -d 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and not __fish_seen_subcommand_from init prove sheet" -l store -d 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration\'s]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and not __fish_seen_subcommand_from init prove sheet" -l identity -d 'File with the private key that opens encrypted backups [default: $DBBACKUP_IDENTITY_FILE, or the configuration\'s]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and not __fish_seen_subcommand_from init prove sheet" -l color -d 'Use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and not __fish_seen_subcommand_from init prove sheet" -l lock-wait -d 'How long to wait for another run\'s lock, as in 10m [default: do not wait]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and not __fish_seen_subcommand_from init prove sheet" -l json -d 'Print one JSON document on stdout'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and not __fish_seen_subcommand_from init prove sheet" -s q -l quiet -d 'Print nothing if all went well'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and not __fish_seen_subcommand_from init prove sheet" -s v -l verbose -d 'Say more (repeatable)'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and not __fish_seen_subcommand_from init prove sheet" -l no-progress -d 'Draw no progress bar'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and not __fish_seen_subcommand_from init prove sheet" -s V -l version -d 'Print the version; with -v what is built in'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and not __fish_seen_subcommand_from init prove sheet" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and not __fish_seen_subcommand_from init prove sheet" -f -a "init" -d 'Make an identity that reads backups, and a key that signs them'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and not __fish_seen_subcommand_from init prove sheet" -f -a "prove" -d 'Show that a private key opens the newest encrypted backup of each source'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and not __fish_seen_subcommand_from init prove sheet" -f -a "sheet" -d 'Print a page to keep in a safe: stores, keys, and how to restore without dbbackup'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from init" -l sign-key -d 'The file for the secret key of minisign; its public key gets the name with `.pub`' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from init" -s c -l config -d 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from init" -l store -d 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration\'s]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from init" -l identity -d 'File with the private key that opens encrypted backups [default: $DBBACKUP_IDENTITY_FILE, or the configuration\'s]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from init" -l color -d 'Use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from init" -l lock-wait -d 'How long to wait for another run\'s lock, as in 10m [default: do not wait]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from init" -l json -d 'Print one JSON document on stdout'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from init" -s q -l quiet -d 'Print nothing if all went well'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from init" -s v -l verbose -d 'Say more (repeatable)'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from init" -l no-progress -d 'Draw no progress bar'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from init" -s V -l version -d 'Print the version; with -v what is built in'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from init" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from prove" -s c -l config -d 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from prove" -l identity -d 'File with the private key that opens encrypted backups [default: $DBBACKUP_IDENTITY_FILE, or the configuration\'s]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from prove" -l color -d 'Use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from prove" -l lock-wait -d 'How long to wait for another run\'s lock, as in 10m [default: do not wait]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from prove" -l json -d 'Print one JSON document on stdout'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from prove" -s q -l quiet -d 'Print nothing if all went well'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from prove" -s v -l verbose -d 'Say more (repeatable)'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from prove" -l no-progress -d 'Draw no progress bar'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from prove" -s V -l version -d 'Print the version; with -v what is built in'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from prove" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from sheet" -s c -l config -d 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from sheet" -l store -d 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration\'s]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from sheet" -l identity -d 'File with the private key that opens encrypted backups [default: $DBBACKUP_IDENTITY_FILE, or the configuration\'s]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from sheet" -l color -d 'Use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from sheet" -l lock-wait -d 'How long to wait for another run\'s lock, as in 10m [default: do not wait]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from sheet" -l with-secret -d 'Print the identity itself, too: who has the page can read every backup'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from sheet" -l json -d 'Print one JSON document on stdout'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from sheet" -s q -l quiet -d 'Print nothing if all went well'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from sheet" -s v -l verbose -d 'Say more (repeatable)'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from sheet" -l no-progress -d 'Draw no progress bar'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from sheet" -s V -l version -d 'Print the version; with -v what is built in'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand key; and __fish_seen_subcommand_from sheet" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand completions" -s c -l config -d 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand completions" -l store -d 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration\'s]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand completions" -l identity -d 'File with the private key that opens encrypted backups [default: $DBBACKUP_IDENTITY_FILE, or the configuration\'s]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand completions" -l color -d 'Use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c dbbackup -n "__fish_dbbackup_using_subcommand completions" -l lock-wait -d 'How long to wait for another run\'s lock, as in 10m [default: do not wait]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand completions" -l json -d 'Print one JSON document on stdout'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand completions" -s q -l quiet -d 'Print nothing if all went well'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand completions" -s v -l verbose -d 'Say more (repeatable)'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand completions" -l no-progress -d 'Draw no progress bar'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand completions" -s V -l version -d 'Print the version; with -v what is built in'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand help" -s c -l config -d 'Configuration [default: $DBBACKUP_CONFIG, ./dbbackup.toml, ~/.config/dbbackup/config.toml, /etc/dbbackup/config.toml]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand help" -l store -d 'Store: a directory, or a name from the configuration [default: $DBBACKUP_STORE, or the configuration\'s]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand help" -l identity -d 'File with the private key that opens encrypted backups [default: $DBBACKUP_IDENTITY_FILE, or the configuration\'s]' -r -F
complete -c dbbackup -n "__fish_dbbackup_using_subcommand help" -l color -d 'Use colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c dbbackup -n "__fish_dbbackup_using_subcommand help" -l lock-wait -d 'How long to wait for another run\'s lock, as in 10m [default: do not wait]' -r
complete -c dbbackup -n "__fish_dbbackup_using_subcommand help" -l json -d 'Print one JSON document on stdout'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand help" -s q -l quiet -d 'Print nothing if all went well'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand help" -s v -l verbose -d 'Say more (repeatable)'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand help" -l no-progress -d 'Draw no progress bar'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand help" -s V -l version -d 'Print the version; with -v what is built in'
complete -c dbbackup -n "__fish_dbbackup_using_subcommand help" -s h -l help -d 'Print help (see more with \'--help\')'
