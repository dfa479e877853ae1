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
}
