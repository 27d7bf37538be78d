//! The program: a seed that fails is named with a command that shows the same run again.

use std::process::{Command, Output};

fn sim(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_sim")).args(arguments).output();
    output.expect("the program runs")
}

fn lines(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_trace_is_the_same_in_two_processes() {
    let of_seed = |seed| sim(&["--story", "mesh", "--nodes", "12", "--seed", seed, "--trace"]);
    let (one, again, other) = (of_seed("7"), of_seed("7"), of_seed("8"));
    assert!(one.status.success());
    let events = lines(&one)
        .iter()
        .filter(|line| line.contains("Established"))
        .count();
    assert!(events >= 2 * 66, "{events} times Established");
    assert_eq!(lines(&one), lines(&again));
    assert_ne!(lines(&one), lines(&other));
}

#[test]
fn a_seed_that_fails_is_named_with_the_command_that_shows_it_again() {
    let failed = sim(&["--seed", "1", "--mutant", "OneLeg"]);
    assert_eq!(failed.status.code(), Some(1));
    let lines_of_it = lines(&failed);
    let at = lines_of_it
        .iter()
        .position(|line| line.starts_with("FAILED swarm"));
    let at = at.expect("it says which seed failed");
    let (_, command) = lines_of_it[at + 1].split_once(" -- ").expect("a command");
    let arguments: Vec<&str> = command.split_whitespace().collect();
    let again = sim(&arguments);
    assert!(lines(&again).contains(&lines_of_it[at]), "{command}");
    let (_, failure) = lines_of_it[at].split_once(": ").expect("words");
    let shown = |line: &String| line.contains("FAILURE") && line.ends_with(failure);
    assert!(
        lines(&again).iter().any(shown),
        "the trace ends with what is wrong"
    );
}
