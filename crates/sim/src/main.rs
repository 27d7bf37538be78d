//! Runs stories and prints what they found.
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let n = |i: usize| a.get(i).and_then(|s| s.parse::<u64>().ok()).unwrap_or(1);
    let trace = || if a.len() > 4 {
        sim::trace::Trace::to(Box::new(|l| println!("{l}")))
    } else {
        sim::trace::Trace::silent()
    };
    let mut marks = sim::marks::Marks::default();
    for seed in n(2)..=n(3) {
        let o = match a[1].as_str() { "mesh" => sim::scenario::full_mesh(n(3) as usize, n(2), trace()),
            "dc" => sim::scenario::data_centre(n(3) as usize, n(2), trace()),
            _ => sim::scenario::swarm(seed, trace()) };
        marks.add(&o.marks);
        if a[1] != "swarm" { println!("{o:#?}"); break; }
        if let Some(f) = o.failure { println!("{}: {f}", o.name); }
    }
    println!("{marks}");
}
