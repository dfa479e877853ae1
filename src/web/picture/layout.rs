//! Where the steps of a picture lie: layers by the longest way to each, an order with few crossings, curves between them.
//! Pure: the same graph lies the same way every time.

use std::collections::BTreeMap;

/// A box, in pixels.
pub(super) const WIDTH: f64 = 190.0;
pub(super) const HEIGHT: f64 = 54.0;
/// Between two boxes of a layer, and between two layers.
const GAP: f64 = 28.0;
const FALL: f64 = 52.0;
/// What a long way takes where it passes a layer.
const LANE: f64 = 18.0;
const MARGIN: f64 = 14.0;
/// Passes down and up: more change nothing that one can see.
const SWEEPS: usize = 6;
/// Lanes of all long ways together; a graph that needs more has them drawn straight across.
const LANES_MAX: usize = 4_000;

/// What is laid out: boxes in an order in which every way leads forward, and the ways by the places of their ends.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) boxes: usize,
    pub(super) ways: Vec<(usize, usize)>,
}

/// Where everything lies.
#[derive(Debug, PartialEq)]
pub(super) struct Layout {
    pub(super) width: f64,
    pub(super) height: f64,
    /// The upper left corner of each box.
    pub(super) boxes: Vec<(f64, f64)>,
    /// For each way the points that it passes: out of a box, through lanes, into a box.
    pub(super) ways: Vec<Vec<(f64, f64)>>,
}

/// A box, or the lane of a long way through one layer.
struct Cell {
    width: f64,
    layer: usize,
    above: Vec<usize>,
    below: Vec<usize>,
    /// The middle.
    x: f64,
}

pub(super) fn lay_out(graph: &Graph) -> Layout {
    let (mut cells, chains) = cells(graph);
    let mut layers = layers(&cells);
    for sweep in 0..SWEEPS {
        order(&mut layers, &cells, sweep % 2 == 0);
    }
    for layer in &layers {
        let mut x = 0.0;
        for cell in layer {
            cells[*cell].x = x + cells[*cell].width / 2.0;
            x += cells[*cell].width + GAP;
        }
    }
    for sweep in 0..SWEEPS * 2 {
        settle(&layers, &mut cells, sweep % 2 == 0);
    }
    placed(graph, &cells, &chains)
}

/// One cell for each box and lane, and for each way the cells that it passes.
fn cells(graph: &Graph) -> (Vec<Cell>, Vec<Vec<usize>>) {
    let mut layer = vec![0; graph.boxes];
    let mut into: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    graph.ways.iter().for_each(|(from, to)| into.entry(*to).or_default().push(*from));
    for (to, from) in &into {
        layer[*to] = from.iter().map(|from| layer[*from] + 1).max().unwrap_or(0);
    }
    let cell = |width, layer| Cell { width, layer, above: Vec::new(), below: Vec::new(), x: 0.0 };
    let mut cells: Vec<Cell> = layer.iter().map(|layer| cell(WIDTH, *layer)).collect();
    let long: usize = graph.ways.iter().map(|(from, to)| layer[*to].saturating_sub(layer[*from] + 1)).sum();
    let mut chains = Vec::new();
    for (from, to) in &graph.ways {
        let mut chain = vec![*from];
        let between = if long > LANES_MAX { 0..0 } else { layer[*from] + 1..layer[*to] };
        for between in between {
            cells.push(cell(LANE, between));
            chain.push(cells.len() - 1);
        }
        chain.push(*to);
        for pair in chain.windows(2) {
            cells[pair[0]].below.push(pair[1]);
            cells[pair[1]].above.push(pair[0]);
        }
        chains.push(chain);
    }
    (cells, chains)
}

fn layers(cells: &[Cell]) -> Vec<Vec<usize>> {
    let mut layers = vec![Vec::new(); cells.iter().map(|cell| cell.layer + 1).max().unwrap_or(0)];
    cells.iter().enumerate().for_each(|(index, cell)| layers[cell.layer].push(index));
    layers
}

/// Puts each cell where its neighbours are, so that few ways cross.
fn order(layers: &mut [Vec<usize>], cells: &[Cell], down: bool) {
    let turn: Vec<usize> = if down { (0..layers.len()).collect() } else { (0..layers.len()).rev().collect() };
    let mut place: Vec<f64> = vec![0.0; cells.len()];
    let note = |layer: &[usize], place: &mut Vec<f64>| {
        for (nth, cell) in layer.iter().enumerate() {
            place[*cell] = nth as f64;
        }
    };
    layers.iter().for_each(|layer| note(layer, &mut place));
    for at in turn {
        let wanted = |cell: &usize| {
            let neighbours = if down { &cells[*cell].above } else { &cells[*cell].below };
            mean(neighbours.iter().map(|other| place[*other])).unwrap_or(place[*cell])
        };
        let mut wanted: Vec<(f64, usize)> = layers[at].iter().map(|cell| (wanted(cell), *cell)).collect();
        wanted.sort_by(|a, b| a.0.total_cmp(&b.0));
        layers[at] = wanted.into_iter().map(|(_, cell)| cell).collect();
        note(&layers[at], &mut place);
    }
}

/// Moves the cells of each layer towards their neighbours, in their order and apart.
fn settle(layers: &[Vec<usize>], cells: &mut [Cell], down: bool) {
    let turn: Vec<&Vec<usize>> = if down { layers.iter().collect() } else { layers.iter().rev().collect() };
    for layer in turn {
        let wanted = |cell: &Cell| {
            let neighbours = if down { &cell.above } else { &cell.below };
            mean(neighbours.iter().map(|other| cells[*other].x)).unwrap_or(cell.x)
        };
        let wanted: Vec<f64> = layer.iter().map(|cell| wanted(&cells[*cell])).collect();
        let mut xs: Vec<f64> = Vec::new();
        for (nth, cell) in layer.iter().enumerate() {
            let apart = |before: usize| (cells[layer[before]].width + cells[*cell].width) / 2.0 + GAP;
            let least = nth.checked_sub(1).map(|before| xs[before] + apart(before));
            xs.push(least.map_or(wanted[nth], |least| wanted[nth].max(least)));
        }
        // What was pushed to the right moves back as a whole.
        let shift = mean(wanted.iter().zip(&xs).map(|(wanted, x)| wanted - x)).unwrap_or(0.0);
        layer.iter().zip(xs).for_each(|(cell, x)| cells[*cell].x = x + shift);
    }
}

fn placed(graph: &Graph, cells: &[Cell], chains: &[Vec<usize>]) -> Layout {
    let left = cells.iter().map(|cell| cell.x - cell.width / 2.0).fold(f64::MAX, f64::min);
    let right = cells.iter().map(|cell| cell.x + cell.width / 2.0).fold(f64::MIN, f64::max);
    let x = |cell: &Cell| (cell.x - left + MARGIN).round();
    let y = |cell: &Cell| cell.layer as f64 * (HEIGHT + FALL) + MARGIN;
    let corner = |cell: &Cell| (x(cell) - WIDTH / 2.0, y(cell));
    let way = |chain: &Vec<usize>| {
        let mut points = Vec::new();
        for (nth, cell) in chain.iter().map(|cell| &cells[*cell]).enumerate() {
            if nth > 0 {
                points.push((x(cell), y(cell)));
            }
            if nth + 1 < chain.len() {
                points.push((x(cell), y(cell) + HEIGHT));
            }
        }
        points
    };
    let depth = cells.iter().map(|cell| cell.layer + 1).max().unwrap_or(0) as f64;
    Layout {
        width: if cells.is_empty() { 0.0 } else { (right - left + 2.0 * MARGIN).ceil() },
        height: depth * (HEIGHT + FALL) - FALL + 2.0 * MARGIN,
        boxes: cells.iter().take(graph.boxes).map(corner).collect(),
        ways: chains.iter().map(way).collect(),
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    (count > 0.0).then(|| sum / count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn graph(boxes: usize, ways: &[(usize, usize)]) -> Layout {
        lay_out(&Graph { boxes, ways: ways.to_vec() })
    }

    #[test]
    fn a_chain_falls_straight() {
        let layout = graph(3, &[(0, 1), (1, 2)]);
        assert!(layout.boxes.windows(2).all(|pair| pair[0].0 == pair[1].0 && pair[0].1 < pair[1].1));
        assert_eq!(layout.width, WIDTH + 2.0 * MARGIN);
    }

    #[test]
    fn two_ways_part_and_meet_in_the_middle() {
        let layout = graph(4, &[(0, 1), (0, 2), (1, 3), (2, 3)]);
        let [top, left, right, bottom] = layout.boxes[..] else { panic!("four boxes") };
        assert!(top.0 == bottom.0 && left.1 == right.1 && left.0 < top.0 && top.0 < right.0, "{layout:?}");
    }

    #[test]
    fn nothing_is_a_picture_of_nothing() {
        assert_eq!(graph(0, &[]).boxes.len(), 0);
    }

    fn any_graph() -> impl Strategy<Value = Graph> {
        (1usize..30).prop_flat_map(|boxes| {
            let ways = prop::collection::vec((0..boxes, 0..boxes), 0..60);
            ways.prop_map(move |ways| {
                let forward = ways.into_iter().filter(|(from, to)| from < to);
                Graph { boxes, ways: forward.collect::<std::collections::BTreeSet<_>>().into_iter().collect() }
            })
        })
    }

    proptest! {
        #[test]
        fn boxes_lie_apart_inside_and_every_way_leads_down(graph in any_graph()) {
            let layout = lay_out(&graph);
            for (nth, (x, y)) in layout.boxes.iter().enumerate() {
                prop_assert!(*x >= 0.0 && x + WIDTH <= layout.width && *y >= 0.0 && y + HEIGHT <= layout.height);
                for (other_x, other_y) in &layout.boxes[nth + 1..] {
                    prop_assert!(y != other_y || (x - other_x).abs() >= WIDTH, "{layout:?}");
                }
            }
            for ((from, to), points) in graph.ways.iter().zip(&layout.ways) {
                prop_assert!(layout.boxes[*from].1 < layout.boxes[*to].1);
                prop_assert!(points.windows(2).all(|pair| pair[0].1 < pair[1].1));
            }
        }
    }
}
