//! Processes that end with the one that started them.

use std::{
    ffi::OsStr,
    fs::File,
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::{StackError, io, user::User};

/// Starts a program, tells its process id, waits for the pipe to close, ends
/// the program with `$1`, and removes the folder `$2`.
const SUPERVISOR: &str = r#"
signal=$1; folder=$2; shift 2
"$@" >&2 &
child=$!
echo "$child"
read -r _
kill -s "$signal" "$child" 2>/dev/null
wait "$child"
if [ -n "$folder" ]; then rm -rf "$folder"; fi
"#;

/// Keeps what this process's environment says to Fealty from another: what the
/// stack starts is told by the one who starts it alone.
pub fn without_knobs(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FEALTY_") {
            command.env_remove(name);
        }
    }
    command
}

/// A process under a supervisor: it ends when this value is dropped, or when
/// the process that holds it ends, even by SIGKILL.
#[derive(Debug)]
pub struct Supervised {
    supervisor: Child,
    pid: u32,
}

impl Supervised {
    /// Starts `program` with its output in `log`, to be ended with `signal`
    /// (`TERM`, `INT`, `QUIT`). The folder `remove` goes when it has ended.
    pub fn start<S: AsRef<OsStr>>(
        program: &Path,
        args: impl IntoIterator<Item = S>,
        env: impl IntoIterator<Item = (String, String)>,
        log: &Path,
        signal: &str,
        remove: Option<&Path>,
    ) -> Result<Self, StackError> {
        Self::start_as(None, program, args, env, log, signal, remove)
    }

    pub(crate) fn start_as<S: AsRef<OsStr>>(
        user: Option<User>,
        program: &Path,
        args: impl IntoIterator<Item = S>,
        env: impl IntoIterator<Item = (String, String)>,
        log: &Path,
        signal: &str,
        remove: Option<&Path>,
    ) -> Result<Self, StackError> {
        let doing = format!("starting {}", program.display());
        let log = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(io(format!("opening {}", log.display())))?;
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", SUPERVISOR, "supervisor", signal])
            .arg(remove.unwrap_or(Path::new("")))
            .arg(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // Out of the terminal's reach: Ctrl-C ends the owner, and that the rest.
            .process_group(0);
        without_knobs(&mut command).envs(env);
        if let Some(user) = user {
            command.uid(user.uid).gid(user.gid).current_dir("/");
        }
        let mut supervisor = command.spawn().map_err(io(doing.clone()))?;
        let mut line = String::new();
        let stdout = supervisor.stdout.take().expect("stdout is piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .map_err(io(doing.clone()))?;
        let pid = line
            .trim()
            .parse()
            .map_err(|_| io(doing)(std::io::Error::other("the supervisor told no process id")))?;
        Ok(Self { supervisor, pid })
    }

    /// The process's id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends the process a signal: `KILL`, `TERM`, `STOP`, `CONT`.
    pub fn signal(&self, signal: &str) {
        // A process that is gone already cannot be signalled, which is no harm.
        let _ = Command::new("kill")
            .args(["-s", signal, &self.pid.to_string()])
            .stderr(Stdio::null())
            .status();
    }

    /// Whether the process runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        // A process that has ended stays as a zombie until its supervisor ends.
        std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).is_ok_and(|stat| {
            stat.rsplit_once(") ")
                .is_some_and(|(_, rest)| !rest.starts_with('Z'))
        })
    }

    /// Ends the process and waits until it has ended.
    pub fn stop(&mut self) {
        drop(self.supervisor.stdin.take());
        // The supervisor ends with its child; it has no error to tell.
        let _ = self.supervisor.wait();
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.stop();
    }
}
