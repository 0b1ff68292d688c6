//! Rules that naga accepts breaking but some driver, Tint or the WebGPU defaults do not forgive.

use naga::{
    AddressSpace, Arena, Block, Expression, Function, Handle, Literal, Module, ScalarKind, Statement,
    TypeInner,
};

const STORAGE_BUFFERS: usize = 8;
const WORKGROUP_BYTES: u32 = 16 << 10;

/// Runs every lint; gives the bytes of workgroup memory, or the place and the reason.
pub fn lint(module: &Module, wgsl: &str) -> Result<u32, String> {
    for (_, function) in module.functions.iter() {
        if let Some(span) = find(&function.body, &is_barrier) {
            return Err(at(
                wgsl,
                span,
                "a barrier outside the entry point: miscompiled by a driver, and Tint can't follow it",
            ));
        }
        no_loop_indexed_arrays(module, function, wgsl)?;
    }
    let entry = &module.entry_points[0].function;
    no_loop_indexed_arrays(module, entry, wgsl)?;
    no_infinities(module, wgsl)?;

    let storage =
        module.global_variables.iter().filter(|(_, v)| matches!(v.space, AddressSpace::Storage { .. }));
    let storage = storage.count();
    if storage > STORAGE_BUFFERS {
        return Err(format!("{storage} storage buffers; WebGPU guarantees {STORAGE_BUFFERS}"));
    }
    let bytes = workgroup_bytes(module);
    if bytes > WORKGROUP_BYTES {
        return Err(format!("{bytes} bytes of workgroup memory; WebGPU guarantees {WORKGROUP_BYTES}"));
    }
    Ok(bytes)
}

fn workgroup_bytes(module: &Module) -> u32 {
    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx()).expect("validated types have a layout");
    let variables = module.global_variables.iter().filter(|(_, v)| v.space == AddressSpace::WorkGroup);
    variables.map(|(_, v)| layouter[v.ty].size.next_multiple_of(16)).sum()
}

/// A local array that is indexed by a value inside a loop spills on several drivers (5 times slower where measured).
fn no_loop_indexed_arrays(module: &Module, function: &Function, wgsl: &str) -> Result<(), String> {
    let mut inside_loops = Vec::new();
    loop_bodies(&function.body, false, &mut inside_loops);
    for expression in inside_loops {
        if let Expression::Access { base, .. } = function.expressions[expression]
            && let Some(name) = local_array(module, function, base)
        {
            let span = function.expressions.get_span(expression);
            return Err(at(
                wgsl,
                span,
                &format!("local array `{name}` indexed by a value in a loop; use named variables and #for"),
            ));
        }
    }
    Ok(())
}

/// Expressions evaluated in any loop.
fn loop_bodies(block: &Block, inside: bool, found: &mut Vec<Handle<Expression>>) {
    for statement in block.iter() {
        match statement {
            Statement::Emit(range) if inside => found.extend(range.clone()),
            Statement::Loop { body, continuing, .. } => {
                loop_bodies(body, true, found);
                loop_bodies(continuing, true, found);
            }
            Statement::Block(body) => loop_bodies(body, inside, found),
            Statement::If { accept, reject, .. } => {
                loop_bodies(accept, inside, found);
                loop_bodies(reject, inside, found);
            }
            Statement::Switch { cases, .. } => cases.iter().for_each(|c| loop_bodies(&c.body, inside, found)),
            _ => {}
        }
    }
}

/// The name of the local array that `base` points into, if it does.
fn local_array(module: &Module, function: &Function, base: Handle<Expression>) -> Option<String> {
    match function.expressions[base] {
        Expression::LocalVariable(variable) => {
            let variable = &function.local_variables[variable];
            matches!(module.types[variable.ty].inner, TypeInner::Array { .. })
                .then(|| variable.name.clone().unwrap_or_default())
        }
        Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => {
            local_array(module, function, base)
        }
        // Values are kept as local arrays too.
        Expression::Load { pointer } => local_array(module, function, pointer),
        Expression::Compose { ty, .. } => {
            matches!(module.types[ty].inner, TypeInner::Array { .. }).then(|| "array(..)".into())
        }
        _ => None,
    }
}

/// naga takes a bit pattern cast to an infinity, Tint does not; WGSL lets an implementation assume there is none.
fn no_infinities(module: &Module, wgsl: &str) -> Result<(), String> {
    let functions =
        module.functions.iter().map(|(_, f)| f).chain(module.entry_points.iter().map(|e| &e.function));
    let arenas = functions.map(|f| &f.expressions).chain([&module.global_expressions]);
    for arena in arenas {
        for (handle, expression) in arena.iter() {
            let finite = match *expression {
                Expression::Literal(Literal::F32(value)) => value.is_finite(),
                Expression::As { expr, kind: ScalarKind::Float, convert: None } => finite_bits(arena, expr),
                _ => true,
            };
            if !finite {
                return Err(at(wgsl, arena.get_span(handle), "an infinity or NaN; use a large finite value"));
            }
        }
    }
    Ok(())
}

/// Whether the literals of a scalar or vector are bits of finite floats.
fn finite_bits(arena: &Arena<Expression>, value: Handle<Expression>) -> bool {
    match arena[value] {
        Expression::Literal(Literal::U32(bits)) => f32::from_bits(bits).is_finite(),
        Expression::Literal(Literal::I32(bits)) => f32::from_bits(bits as u32).is_finite(),
        Expression::Splat { value, .. } => finite_bits(arena, value),
        Expression::Compose { ref components, .. } => components.iter().all(|part| finite_bits(arena, *part)),
        _ => true,
    }
}

fn is_barrier(statement: &Statement) -> bool {
    matches!(statement, Statement::ControlBarrier(_) | Statement::WorkGroupUniformLoad { .. })
}

fn find(block: &Block, wanted: &dyn Fn(&Statement) -> bool) -> Option<naga::Span> {
    block.span_iter().find_map(|(statement, span)| {
        if wanted(statement) {
            return Some(*span);
        }
        match statement {
            Statement::Block(body) => find(body, wanted),
            Statement::If { accept, reject, .. } => find(accept, wanted).or_else(|| find(reject, wanted)),
            Statement::Loop { body, continuing, .. } => {
                find(body, wanted).or_else(|| find(continuing, wanted))
            }
            Statement::Switch { cases, .. } => cases.iter().find_map(|case| find(&case.body, wanted)),
            _ => None,
        }
    })
}

fn at(wgsl: &str, span: naga::Span, reason: &str) -> String {
    let place = span.location(wgsl);
    let line = wgsl.lines().nth(place.line_number as usize - 1).unwrap_or("").trim();
    format!("line {} `{line}`: {reason}", place.line_number)
}
