//! `quickbeam init`: everything a new node needs, in a folder of its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::context::{Context, serve_command};
use super::list::text;
use crate::clock::Time;
use crate::config::Mistake;
use crate::config::template::{Answers, Template, render};
use crate::domains::{all_effects, catalog};
use crate::private::{self, KEY_FILE, PrivateError, RSA_KEY_FILE};
use crate::tokens::{self, Scope, TokenError, TokenStore, Wanted};
use crate::wire::key::{KeyFormatError, NodeKey};
use crate::wire::rsa::RsaKey;

/// What the first token may do: all that a writer does, and nothing of the administration.
const FIRST_SCOPES: [Scope; 4] = [Scope::Publish, Scope::Follow, Scope::FlowsRead, Scope::FlowsWrite];
const FIRST_NAME: &str = "first";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What the node is called: 1 to 63 of a-z, 0-9 and -
    name: String,
    /// Where others find it, for ever: https://blog.example
    #[arg(long, value_name = "URL")]
    base: String,
    /// What it starts with
    #[arg(long, default_value = "empty", value_parser = Template::ALL.map(Template::name))]
    template: String,
    /// Where to make it [default: ./NAME]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The public listener: an address and a port [default: the template's]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The administration's listener, on loopback [default: the template's]
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<String>,
}

/// A node to be made.
#[derive(Debug)]
pub(crate) struct New {
    pub(crate) folder: PathBuf,
    pub(crate) template: Template,
    pub(crate) answers: Answers,
    /// Goes behind the template.
    pub(crate) more: String,
    pub(crate) now: Time,
    /// Of the key, of the administrator's token and of the first one.
    pub(crate) seeds: [[u8; 32]; 3],
}

/// A node that was made.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) config: PathBuf,
    /// The first token, which is nowhere else.
    pub(crate) token: String,
}

/// Why there is no new node.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    #[error("{} is there already and not empty: give another folder with --dir", .0.display())]
    Taken(PathBuf),
    #[error("{}", .0.iter().map(remedied).collect::<Vec<_>>().join("\n"))]
    Answers(Vec<Mistake>),
    #[error("{} cannot be written: {source}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Private(#[from] PrivateError),
    #[error(transparent)]
    Key(#[from] KeyFormatError),
    #[error(transparent)]
    Token(#[from] TokenError),
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<()> {
    let folder = args.dir.clone().unwrap_or_else(|| args.name.clone().into());
    let answers = Answers {
        name: args.name.clone(),
        base: args.base.clone(),
        listen: args.listen.clone(),
        admin_listen: args.admin_listen.clone(),
        ..Answers::default()
    };
    let template = Template::named(&args.template).expect("clap takes only the names of templates");
    let (now, seeds) = (context.clock.now(), [context.seed(), context.seed(), context.seed()]);
    let made = make(&New { folder, template, answers, more: String::new(), now, seeds })?;
    let answer = json!({ "name": args.name, "config": made.config, "token": made.token, "scopes": FIRST_SCOPES });
    context.print(&answer, |answer| shown(answer, &made.config));
    Ok(())
}

fn shown(answer: &Value, config: &Path) -> String {
    let folder = config.parent().unwrap_or(Path::new(".")).display();
    let scopes = FIRST_SCOPES.map(Scope::word).join(", ");
    format!(
        "made {folder}: quickbeam.toml, keys and tokens in data/, and examples: Caddyfile, quickbeam.service\n\n\
         the first token, shown only now ({scopes}):\n{}\n\n\
         next: {}",
        text(answer, "token"),
        serve_command(config)
    )
}

/// Writes a node's folder; nothing stays of one that would not start.
///
/// # Errors
/// When the folder is not empty, an answer is none, or something cannot be written.
pub(crate) fn make(new: &New) -> Result<Made, InitError> {
    let folder = &new.folder;
    let was_there = folder.exists();
    // What cannot be listed is not empty for us.
    if was_there && !fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none()) {
        return Err(InitError::Taken(folder.clone()));
    }
    let made = fill(new);
    if made.is_err() {
        take_back(folder, was_there);
    }
    made
}

fn fill(new: &New) -> Result<Made, InitError> {
    let folder = &new.folder;
    fs::create_dir_all(folder).map_err(|source| InitError::Io { path: folder.clone(), source })?;
    let config = folder.join("quickbeam.toml");
    write(&config, &(render(new.template, &new.answers) + &new.more))?;
    // Without the environment: what it says now, it need not say when the node starts.
    let (settings, _) = catalog::load(&config, std::iter::empty(), &all_effects()).map_err(InitError::Answers)?;
    let data = settings.node.data;
    private::make_folder(&data)?;
    let [key, admin, first] = new.seeds;
    private::create(&data.join(KEY_FILE), NodeKey::from_seed(key).to_pem().as_bytes())?;
    private::create(&data.join(RSA_KEY_FILE), RsaKey::generate()?.to_pem().as_bytes())?;
    private::create(&tokens::admin_file(&data), (tokens::token_of(&admin)? + "\n").as_bytes())?;
    let wanted = Wanted { name: FIRST_NAME, scopes: &FIRST_SCOPES, prefix: None, expires: None };
    let token = TokenStore::open(&data)?.add(&wanted, new.now, &first)?;
    let host = settings.node.base.split_once("://").map_or("", |(_, host)| host);
    write(&folder.join("Caddyfile"), &caddyfile(host, &settings.public.listen.to_string()))?;
    write(&folder.join("quickbeam.service"), &service(&settings.node.name, folder))?;
    Ok(Made { config, token })
}

fn write(path: &Path, text: &str) -> Result<(), InitError> {
    fs::write(path, text).map_err(|source| InitError::Io { path: path.into(), source })
}

/// The folder held nothing before, so that all that is in it now is ours.
fn take_back(folder: &Path, was_there: bool) {
    let names = ["quickbeam.toml", "Caddyfile", "quickbeam.service"];
    for name in names {
        let _ = fs::remove_file(folder.join(name));
    }
    let _ = fs::remove_dir_all(folder.join("data"));
    if !was_there {
        let _ = fs::remove_dir(folder);
    }
}

/// Lines of a file that will not be there in a moment help nobody.
fn remedied(mistake: &Mistake) -> String {
    match mistake.remedy.as_str() {
        "" => mistake.what.clone(),
        remedy => format!("{}; {remedy}", mistake.what),
    }
}

fn caddyfile(host: &str, listen: &str) -> String {
    format!(
        "# Caddy gets the certificate and speaks HTTPS; the node speaks plain HTTP to it, on this machine only.\n\
         # List Caddy's address under trusted_proxies in quickbeam.toml, or one bad client counts for all of them.\n\
         {host} {{\n\
         \x20   reverse_proxy {listen}\n\
         }}\n"
    )
}

fn service(name: &str, folder: &Path) -> String {
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let folder = folder.display();
    format!(
        "# Copy to /etc/systemd/system/quickbeam-{name}.service, then: systemctl enable --now quickbeam-{name}\n\
         # The user has to own {folder}.\n\
         [Unit]\n\
         Description=Quickbeam node {name}\n\
         After=network-online.target\n\
         Wants=network-online.target\n\
         \n\
         [Service]\n\
         User=quickbeam\n\
         WorkingDirectory={folder}\n\
         ExecStart=/usr/local/bin/quickbeam serve --config {folder}/quickbeam.toml\n\
         Restart=on-failure\n\
         # Each connection is a file; one address may have limits.address_connections of them.\n\
         LimitNOFILE=65536\n\
         NoNewPrivileges=true\n\
         ProtectSystem=strict\n\
         ReadWritePaths={folder}/data\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}
