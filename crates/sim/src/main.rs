//! `isotape-publisher [ADDRESS]`: commands on stdin, replies and events on stdout, one JSON object a line.
//! It sends from ADDRESS, one of this machine's own; 127.0.0.1 when left out.

use std::env;
use std::io::{self, BufRead, Write};
use std::sync::{Arc, mpsc};
use std::thread;

use isotape_sim::{Publisher, Result, Waiting};

/// Lines that wait for the loop; the driver waits for replies, so it never comes near.
const COMMANDS_WAITING: usize = 256;

fn main() -> Result<()> {
    let (lines, commands) = mpsc::sync_channel(COMMANDS_WAITING);
    let (mut publisher, waker) = Publisher::new(commands)?;
    if let Some(address) = env::args().nth(1) {
        publisher.send_from(address.parse().map_err(io::Error::other)?);
    }
    // A dropped waker takes its last wake-up along, so one stays here until the loop has ended.
    let alarm = Arc::clone(&waker);
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(io::Result::ok) {
            if lines.send(line).is_err() || alarm.wake().is_err() {
                return;
            }
        }
        drop(lines);
        // Nobody can be told when this fails: the loop is gone then.
        let _ = alarm.wake();
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
