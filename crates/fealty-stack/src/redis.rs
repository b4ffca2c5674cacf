//! A private Redis.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use crate::{Binaries, StackError, Supervised, free_port, postgres::private_folder, user::User};

const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A private Redis on a free port of the loopback address. It keeps nothing on
/// disk: started again, it is empty.
#[derive(Debug)]
pub struct Redis {
    process: Option<Supervised>,
    program: PathBuf,
    port: u16,
}

impl Redis {
    /// Starts it. Blocks until it answers.
    pub fn start(binaries: &Binaries) -> Result<Self, StackError> {
        let mut redis = Self {
            process: None,
            program: binaries.redis_server.clone(),
            port: free_port()?,
        };
        redis.resume()?;
        Ok(redis)
    }

    /// Stops it; what it held is gone.
    pub fn interrupt(&mut self) {
        self.process = None;
    }

    /// Starts it again on the same port, empty.
    pub fn resume(&mut self) -> Result<(), StackError> {
        let user = User::to_drop_to();
        let folder = private_folder("fealty-redis-", user)?;
        let port = self.port.to_string();
        let dir = folder.display().to_string();
        let args = [
            "--port",
            &port,
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            &dir,
        ];
        let log = folder.join("redis.log");
        let process =
            Supervised::start_as(user, &self.program, args, [], &log, "TERM", Some(&folder))?;
        let deadline = Instant::now() + START_TIMEOUT;
        while !self.answers() {
            if Instant::now() > deadline || !process.is_running() {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                return Err(StackError::NotStarted {
                    server: "redis-server",
                    log,
                });
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.process = Some(process);
        Ok(())
    }

    /// Sends it a signal: `STOP` puts it to sleep, `CONT` wakes it.
    pub fn signal(&self, signal: &str) {
        if let Some(process) = &self.process {
            process.signal(signal);
        }
    }

    fn answers(&self) -> bool {
        let ping = || -> std::io::Result<bool> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(b"PING\r\n")?;
            let mut answer = [0; 5];
            stream.read_exact(&mut answer)?;
            Ok(&answer == b"+PONG")
        };
        ping().unwrap_or(false)
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}
