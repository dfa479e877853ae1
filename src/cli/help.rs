//! `quickbeam --help`: the commands in groups, in the order in which somebody comes to need them.

use clap::Subcommand as _;

/// Every command stands in one of them.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Begin", &["demo", "init", "check", "flow", "serve", "token", "key"]),
    ("Tell others", &["follow", "unfollow", "followers", "blocks", "publish", "allocate", "activities"]),
    ("See what happens", &["status", "flows", "schedules", "actors", "inspect", "peers", "dead-letters", "verify"]),
    ("For programs", &["store"]),
    ("Look after the data", &["backup", "restore", "continue", "journal", "retention"]),
];

/// The form of the help of the whole program.
pub(super) fn template() -> String {
    let commands = super::Command::augment_subcommands(clap::Command::new("quickbeam"));
    let about = |name: &str| {
        let found = commands.get_subcommands().find(|command| command.get_name() == name);
        found.and_then(clap::Command::get_about).map(ToString::to_string).unwrap_or_default()
    };
    let width = GROUPS.iter().flat_map(|(_, names)| *names).map(|name| name.len()).max().unwrap_or(0);
    let groups = GROUPS.map(|(title, names)| {
        let lines = names.iter().map(|name| format!("  {name:width$}  {}\n", about(name)));
        format!("{title}:\n{}\n", lines.collect::<String>())
    });
    format!("{{about}}\n\n{{usage-heading}} {{usage}}\n\n{}Options:\n{{options}}{{after-help}}", groups.concat())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn every_command_stands_in_one_group_with_what_it_does() {
        let commands = super::super::Command::augment_subcommands(clap::Command::new("quickbeam"));
        let mut known: Vec<&str> = commands.get_subcommands().map(clap::Command::get_name).collect();
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        known.sort_unstable();
        grouped.sort_unstable();
        assert_eq!(grouped, known);
        assert!(template().contains("serve         Run the node\n"));
    }

    /// Lists have the names of many things, and verbs move one of them: `peer check`, `activity show`.
    #[test]
    fn whoever_names_one_thing_where_the_command_names_many_is_understood() {
        let commands = super::super::Command::augment_subcommands(clap::Command::new("quickbeam"));
        let mut found = Vec::new();
        for command in commands.get_subcommands() {
            let one = match command.get_name() {
                "status" => continue,
                "activities" => "activity",
                name => match name.strip_suffix('s') {
                    Some(one) => one,
                    None => continue,
                },
            };
            let is_known = |name: &str| commands.get_subcommands().any(|other| other.get_name() == name);
            // `flow` is a command of its own.
            assert!(command.get_all_aliases().any(|alias| alias == one) != is_known(one), "{one}");
            found.push(one);
        }
        found.sort_unstable();
        assert_eq!(found, ["activity", "actor", "block", "dead-letter", "flow", "follower", "peer", "schedule"]);
        for words in [
            &["peer", "check", "https://events.example/actor"][..],
            &["activity", "show", "01ARYZ6S410000000000000000"],
            &["dead-letter", "retry", "1"],
        ] {
            let all = ["quickbeam"].iter().chain(words);
            assert!(super::super::Cli::try_parse_from(all).is_ok(), "{words:?}");
        }
    }
}
