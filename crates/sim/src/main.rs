//! `isotape-publisher`: commands on stdin, replies and events on stdout, one JSON object a line.

use std::io::{self, BufRead, Write};
use std::sync::mpsc;
use std::thread;

use isotape_sim::{Publisher, Result, Waiting};

/// Lines that wait for the loop; the driver waits for replies, so it never comes near.
const COMMANDS_WAITING: usize = 256;

fn main() -> Result<()> {
    let (lines, commands) = mpsc::sync_channel(COMMANDS_WAITING);
    let (mut publisher, waker) = Publisher::new(commands)?;
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(io::Result::ok) {
            if lines.send(line).is_err() || waker.wake().is_err() {
                return;
            }
        }
        drop(lines);
        // Nobody can be told when this fails: the loop is gone then.
        let _ = waker.wake();
    });
    let mut stdout = io::stdout().lock();
    while publisher.turn()? == Waiting::Going {
        for line in publisher.take_lines() {
            writeln!(stdout, "{line}")?;
        }
        stdout.flush()?;
    }
    Ok(())
}
