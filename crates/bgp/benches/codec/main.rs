//! Octets to UPDATEs and back: `cargo bench -p flatroute-bgp --bench codec`.

mod shapes;

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flatroute_bgp::wire::{decode, encode_reach, encode_unreach, split};
use shapes::{CONTEXT, shapes};

fn decoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    for shape in shapes() {
        let message = shape.message();
        group.throughput(Throughput::Elements(shape.prefixes.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(shape.name), |b| {
            b.iter(|| {
                let frame = split(black_box(&message), CONTEXT.max_len())
                    .expect("a good header")
                    .expect("a whole message");
                black_box(decode(&frame, &CONTEXT).expect("a good message"));
            });
        });
    }
}

fn encoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    let mut out = BytesMut::new();
    for shape in shapes() {
        group.throughput(Throughput::Elements(shape.prefixes.len() as u64));
        group.bench_function(BenchmarkId::new("announce", shape.name), |b| {
            b.iter(|| {
                out.clear();
                let count = encode_reach(black_box(&shape.prefixes), &shape.attributes, &CONTEXT, &mut out);
                black_box(count.expect("good input"));
            });
        });
        group.bench_function(BenchmarkId::new("withdraw", shape.name), |b| {
            b.iter(|| {
                out.clear();
                black_box(encode_unreach(black_box(&shape.prefixes), &CONTEXT, &mut out));
            });
        });
    }
}

criterion_group!(benches, decoding, encoding);
criterion_main!(benches);
