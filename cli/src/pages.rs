//! `completions` and `man`: made from the same description of the command line that parses it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Command, builder::PossibleValuesParser};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::{Failure, out, read::schema::SCHEMAS};

/// What the name of the command is in shells and in the manual.
const NAME: &str = "peer-journal";

/// Options of `completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Options of `man`.
#[derive(Debug, clap::Args)]
pub(crate) struct Manual {
    /// The page of this command [default: that of peer-journal itself]
    #[arg(value_name = "COMMAND", conflicts_with = "out")]
    command: Option<String>,
    /// Write all pages into this folder, one for each command
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn completions(args: &Completions, command: &Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    let pages = shown(command).map(|sub| sub.get_name().to_owned()).collect();
    let schemas = SCHEMAS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let mut offered = offering(visible(command), "man", "command", pages);
    offered = offering(offered, "schema", "verb", schemas);
    clap_complete::generate(args.shell, &mut offered, NAME, &mut script);
    if args.shell != Shell::Bash {
        return out::bytes(&script);
    }
    // clap_complete 4.6 takes the hyphen in the name for the space before a subcommand, in one of
    // the two places that must agree.
    let script = String::from_utf8_lossy(&script);
    out::bytes(script.replace("peer__subcmd__journal", "peer__journal").as_bytes())
}

/// The command with names to choose from for an argument of one of its subcommands. The parser
/// takes any, to say what there is where a name is wrong.
fn offering(command: Command, sub: &str, arg: &str, names: Vec<String>) -> Command {
    command.mut_subcommand(sub, |sub| {
        sub.mut_arg(arg, |arg| arg.value_parser(PossibleValuesParser::new(names)))
    })
}

/// The command without what is hidden, which completions would offer.
fn visible(command: &Command) -> Command {
    let args = command.get_arguments().filter(|arg| !arg.is_hide_set()).cloned();
    let mut kept = Command::new(command.get_name().to_owned())
        .args(args)
        .subcommands(shown(command).map(visible));
    if let Some(about) = command.get_about() {
        kept = kept.about(about.clone());
    }
    match command.get_version() {
        Some(version) => kept.version(version.to_owned()),
        None => kept,
    }
}

pub(crate) fn manual(args: &Manual, mut command: Command) -> Result<(), Failure> {
    command.build();
    if let Some(dir) = &args.out {
        return write_all(dir, &command);
    }
    let page = match &args.command {
        None => root(&command),
        Some(name) => {
            let found = shown(&command).find(|sub| sub.get_name() == name);
            let sub = found.ok_or_else(|| {
                let all = shown(&command).map(Command::get_name).collect::<Vec<_>>().join(", ");
                Failure::usage(format!("there is no page of that name; there are {all}"))
            })?;
            of(sub)
        }
    };
    out::bytes(&page?)
}

/// The commands that a person should know.
fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
}

fn write_all(dir: &Path, command: &Command) -> Result<(), Failure> {
    fs::create_dir_all(dir).map_err(|error| {
        Failure::io(format_args!("cannot make the folder (path={})", dir.display()), error)
    })?;
    write(dir, NAME, &root(command)?)?;
    let mut count = 1;
    for sub in shown(command) {
        write(dir, &format!("{NAME}-{}", sub.get_name()), &of(sub)?)?;
        count += 1;
    }
    out::note(format_args!("wrote {count} pages to {}", dir.display()));
    Ok(())
}

fn write(dir: &Path, name: &str, page: &[u8]) -> Result<(), Failure> {
    let path = dir.join(format!("{name}.1"));
    fs::write(&path, page).map_err(|error| {
        Failure::io(format_args!("cannot write the page (path={})", path.display()), error)
    })
}

fn rendered(command: &Command) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    let man = Man::new(command.clone()).manual("peer-journal manual");
    man.render(&mut page).map_err(|error| Failure::io("cannot make the page", error))?;
    Ok(page)
}

fn root(command: &Command) -> Result<Vec<u8>, Failure> {
    let mut page = rendered(command)?;
    page.extend_from_slice(MORE.as_bytes());
    Ok(page)
}

fn of(sub: &Command) -> Result<Vec<u8>, Failure> {
    let mut page = rendered(sub)?;
    page.extend_from_slice(b".SH \"SEE ALSO\"\n\\fBpeer\\-journal\\fR(1)\n");
    Ok(page)
}

/// What clap does not know of the command as a whole.
const MORE: &str = r#".SH "EXIT STATUS"
.TP
\fB0\fR
done; a torn tail is no finding, since every crash leaves one
.TP
\fB1\fR
a finding: damage, a difference, a peer that is not known
.TP
\fB2\fR
usage: wrong arguments, or no store at that path
.TP
\fB3\fR
nothing in the store can be recovered
.TP
\fB4\fR
the operating system refused a call
.TP
\fB5\fR
another process holds the store (commands that write)
.TP
\fB6\fR
written by a newer version
.SH ENVIRONMENT
.TP
\fBPEER_JOURNAL_STORE\fR
the store, where \fB\-\-store\fR does not name one
.TP
\fBNO_COLOR\fR, \fBCLICOLOR_FORCE\fR
colours nowhere, or everywhere, where \fB\-\-color\fR does not say
.TP
\fBCOLUMNS\fR
the width to fit tables into
.TP
\fBRUST_LOG\fR
which messages of the library are shown on standard error
.SH FILES
.TP
\fI~/.ggen/p2p\-state.json\fR
the state file, if nothing else is named; its journal is in \fI~/.ggen/p2p\-state.journal\fR
"#;
