//! Reading a file, binding its inputs, ordering its nodes and lowering them one by one.

use super::inputs::{bind, check_constant};
use super::lower;
use super::node::NodeContext;
use super::proto::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto};
use super::tensors::{dtype_of, tensor_of};
use crate::error::ImportError;
use crate::options::{ImportOptions, check_file_size, check_names};
use core::cell::Cell;
use lattice_inference::DType;
use lattice_inference::limits::NODES_MAX;
use lattice_inference::{Graph, GraphBuilder, Value};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};

/// Deepest nesting of subgraphs and functions.
const DEPTH_MAX: usize = 16;

/// Names and values visible at some place of a file.
pub(crate) struct Scope<'a> {
    values: BTreeMap<String, Value>,
    parent: Option<&'a Scope<'a>>,
    file: &'a File<'a>,
    opsets: &'a BTreeMap<String, i64>,
    depth: usize,
}

/// What the whole file says.
pub(crate) struct File<'a> {
    functions: BTreeMap<(&'a str, &'a str), &'a FunctionProto>,
    options: &'a ImportOptions,
    /// Nodes lowered so far, each inlined copy counted.
    lowered: Cell<usize>,
}

impl Scope<'_> {
    fn find(&self, name: &str) -> Option<Value> {
        self.values.get(name).copied().or_else(|| self.parent?.find(name))
    }
}

/// Imports an ONNX file: one frozen graph with static shapes, or the reason why not.
pub fn import_onnx(bytes: &[u8], options: &ImportOptions) -> Result<Graph, ImportError> {
    check_file_size(bytes, options)?;
    let model = ModelProto::decode(bytes).map_err(|e| ImportError::Protobuf(e.to_string()))?;
    let graph = model.graph.as_ref().filter(|_| model.ir_version > 0);
    let graph = graph.ok_or_else(|| ImportError::Protobuf("it holds no ONNX graph".into()))?;
    if graph.output.is_empty() {
        return Err(ImportError::Model("the graph has no outputs".into()));
    }
    let opsets = opsets_of(&model.opset_import)?;
    let functions = model.functions.iter().map(|f| ((normal_domain(&f.domain), f.name.as_str()), f)).collect();
    let file = File { functions, options, lowered: Cell::new(0) };
    let mut builder = GraphBuilder::default();
    let mut scope = Scope { values: BTreeMap::new(), parent: None, file: &file, opsets: &opsets, depth: 0 };
    bind_inputs(graph, &mut builder, &mut scope)?;
    lower_graph(graph, &mut builder, &mut scope)?;
    let mut outputs = Vec::with_capacity(graph.output.len());
    for output in &graph.output {
        let value = scope
            .find(&output.name)
            .ok_or_else(|| ImportError::Model(format!("output '{}' is computed by no node", output.name)))?;
        let declared = output.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()).map(|t| t.elem_type);
        if let Some(code) = declared.filter(|&code| code != 0) {
            let declared =
                dtype_of(i64::from(code)).map_err(|e| ImportError::Model(format!("output '{}': {e}", output.name)))?;
            let computed = builder.ty(value).dtype;
            if declared != computed {
                let name = &output.name;
                return Err(ImportError::Model(format!(
                    "output '{name}' is declared {declared}, but computed as {computed}"
                )));
            }
        }
        outputs.push((output.name.clone(), value));
    }
    builder.finish(outputs).map_err(|e| ImportError::Model(e.to_string()))
}

/// The default domain has two spellings.
fn normal_domain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

fn opsets_of(imports: &[OperatorSetIdProto]) -> Result<BTreeMap<String, i64>, ImportError> {
    let mut opsets = BTreeMap::new();
    for import in imports {
        opsets.insert(normal_domain(&import.domain).to_string(), import.version);
    }
    if let Some(version) = opsets.get("").filter(|&&v| !(1..=lower::OPSET_MAX).contains(&v)) {
        let max = lower::OPSET_MAX;
        return Err(ImportError::Model(format!("operator set {version} is not known; versions 1 to {max} are")));
    }
    Ok(opsets)
}

fn bind_inputs(graph: &GraphProto, builder: &mut GraphBuilder, scope: &mut Scope<'_>) -> Result<(), ImportError> {
    let options = scope.file.options;
    let stored: BTreeSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let names: Vec<&str> = graph.input.iter().map(|i| i.name.as_str()).filter(|n| !stored.contains(n)).collect();
    check_names(options, &names)?;
    for input in graph.input.iter().filter(|i| !stored.contains(i.name.as_str())) {
        let value = match options.constants.get(&input.name) {
            Some(tensor) => {
                check_constant(input, tensor)?;
                builder.constant(&input.name, tensor.clone())
            }
            None => builder.input(bind(input, options)?),
        };
        if scope.values.insert(input.name.clone(), value).is_some() {
            return Err(ImportError::Input { name: input.name.clone(), reason: "it is declared twice".into() });
        }
    }
    Ok(())
}

/// Adds initialisers and lowers all nodes of a graph into the scope.
fn lower_graph(graph: &GraphProto, builder: &mut GraphBuilder, scope: &mut Scope<'_>) -> Result<(), ImportError> {
    if let Some(sparse) = graph.sparse_initializer.first() {
        let name = sparse.values.as_ref().map(|v| v.name.clone()).unwrap_or_default();
        return Err(ImportError::Initializer { name, reason: "sparse initialisers are not supported".into() });
    }
    let paths = module_paths(&graph.node);
    for initializer in &graph.initializer {
        let wrong = |reason| ImportError::Initializer { name: initializer.name.clone(), reason };
        let tensor = tensor_of(initializer).map_err(wrong)?;
        let path = paths.get(initializer.name.as_str()).and_then(Option::as_deref);
        let value = builder.constant(path.unwrap_or(&initializer.name), tensor);
        if scope.values.insert(initializer.name.clone(), value).is_some() {
            return Err(wrong("the name is defined twice".into()));
        }
    }
    lower_nodes(&graph.node, builder, scope)
}

/// Names for weights whose own the exporter has lost: PyTorch's calls a folded transpose `onnx::MatMul_42`, and keeps the
/// path of the module in the name of the node that reads it, `/encoder/query/MatMul`. Adapters find weights by that path.
/// `None` when several nodes read the weight.
fn module_paths(nodes: &[NodeProto]) -> BTreeMap<&str, Option<String>> {
    let mut paths = BTreeMap::new();
    for node in nodes {
        for input in node.input.iter().filter(|input| input.starts_with("onnx::")) {
            let module = node.name.strip_prefix('/').and_then(|name| name.strip_suffix("/MatMul"));
            let path = module.map(|module| format!("{}.weight", module.replace('/', ".")));
            paths.entry(input.as_str()).and_modify(|path| *path = None).or_insert(path);
        }
    }
    paths
}

/// How a message calls a node: by its name, or by where it is and what it makes.
fn node_name(node: &NodeProto, position: usize) -> String {
    match (node.name.as_str(), node.output.first()) {
        ("", Some(output)) => format!("#{position}, which makes '{output}'"),
        ("", None) => format!("#{position}"),
        (name, _) => name.to_string(),
    }
}

fn operator_name(node: &NodeProto) -> String {
    match normal_domain(&node.domain) {
        "" => node.op_type.clone(),
        domain => format!("{domain}.{}", node.op_type),
    }
}

fn lower_nodes(nodes: &[NodeProto], builder: &mut GraphBuilder, scope: &mut Scope<'_>) -> Result<(), ImportError> {
    if nodes.len() > NODES_MAX {
        return Err(ImportError::Model(format!("the graph has {} nodes; the limit is {NODES_MAX}", nodes.len())));
    }
    // Functions that call functions can multiply; the sum over all copies is what counts.
    let lowered = scope.file.lowered.get() + nodes.len();
    scope.file.lowered.set(lowered);
    if lowered > 2 * NODES_MAX {
        return Err(ImportError::Model(format!("the graph with its functions has more than {} nodes", 2 * NODES_MAX)));
    }
    for position in execution_order(nodes, scope)? {
        let node = &nodes[position];
        let wrong = |reason: String| ImportError::Node {
            node: node_name(node, position),
            operator: operator_name(node),
            reason,
        };
        let results = lower_node(node, position, builder, scope)?;
        builder.check_size().map_err(wrong)?;
        if results.len() < node.output.iter().rposition(|o| !o.is_empty()).map_or(0, |last| last + 1) {
            return Err(wrong(format!("only {} of its results are supported", results.len())));
        }
        for (name, value) in node.output.iter().zip(results).filter(|(name, _)| !name.is_empty()) {
            if scope.values.insert(name.clone(), value).is_some() {
                return Err(wrong(format!("'{name}' is computed twice")));
            }
        }
    }
    Ok(())
}

/// An order in which every node follows those it reads; files are usually sorted already, so this keeps their order then.
fn execution_order(nodes: &[NodeProto], scope: &Scope<'_>) -> Result<Vec<usize>, ImportError> {
    let mut made_by: BTreeMap<&str, usize> = BTreeMap::new();
    for (position, node) in nodes.iter().enumerate() {
        made_by.extend(node.output.iter().filter(|o| !o.is_empty()).map(|o| (o.as_str(), position)));
    }
    let mut waits: Vec<BTreeSet<usize>> = Vec::with_capacity(nodes.len());
    for (position, node) in nodes.iter().enumerate() {
        let mut needed = BTreeSet::new();
        for name in reads_of(node, 0) {
            match made_by.get(name.as_str()) {
                Some(&maker) => {
                    needed.insert(maker);
                }
                None if scope.find(&name).is_some() => {}
                None => {
                    return Err(ImportError::Node {
                        node: node_name(node, position),
                        operator: operator_name(node),
                        reason: format!(
                            "it reads '{name}', which is neither an input, an initialiser nor computed by a node"
                        ),
                    });
                }
            }
        }
        waits.push(needed);
    }
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    waits.iter().enumerate().for_each(|(reader, needed)| needed.iter().for_each(|&m| readers[m].push(reader)));
    let mut open: Vec<usize> = waits.iter().map(BTreeSet::len).collect();
    let mut ready: BTreeSet<usize> = (0..nodes.len()).filter(|&n| open[n] == 0).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(next) = ready.pop_first() {
        order.push(next);
        for &reader in &readers[next] {
            open[reader] -= 1;
            if open[reader] == 0 {
                ready.insert(reader);
            }
        }
    }
    match (0..nodes.len()).find(|&n| open[n] > 0) {
        Some(stuck) => Err(ImportError::Node {
            node: node_name(&nodes[stuck], stuck),
            operator: operator_name(&nodes[stuck]),
            reason: "it is part of a cycle".into(),
        }),
        None => Ok(order),
    }
}

/// Names a node reads, those of its subgraphs that come from outside included.
fn reads_of(node: &NodeProto, depth: usize) -> Vec<String> {
    let mut names: Vec<String> = node.input.iter().filter(|n| !n.is_empty()).cloned().collect();
    if depth < DEPTH_MAX {
        for graph in node.attribute.iter().filter_map(|a| a.g.as_deref()) {
            let mut own: BTreeSet<&str> = graph.input.iter().map(|i| i.name.as_str()).collect();
            own.extend(graph.initializer.iter().map(|t| t.name.as_str()));
            own.extend(graph.node.iter().flat_map(|n| n.output.iter().map(String::as_str)));
            let inner = graph.node.iter().flat_map(|n| reads_of(n, depth + 1));
            let results = graph.output.iter().map(|o| o.name.clone());
            names.extend(inner.chain(results).filter(|n| !own.contains(n.as_str())));
        }
    }
    names
}

fn lower_node(
    node: &NodeProto,
    position: usize,
    builder: &mut GraphBuilder,
    scope: &Scope<'_>,
) -> Result<Vec<Value>, ImportError> {
    let wrong =
        |reason: String| ImportError::Node { node: node_name(node, position), operator: operator_name(node), reason };
    let domain = normal_domain(&node.domain);
    let find = |name: &String| match name.as_str() {
        "" => Ok(None),
        name => scope.find(name).map(Some).ok_or_else(|| wrong(format!("it reads '{name}', which is not computed"))),
    };
    let inputs = node.input.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    if let Some(function) = scope.file.functions.get(&(domain, node.op_type.as_str())) {
        return inline(function, node, inputs, builder, scope).map_err(|e| match e {
            // The innermost node is named already; say where it was called from.
            ImportError::Node { node: inner, operator, reason } => {
                ImportError::Node { node: format!("{} / {inner}", node_name(node, position)), operator, reason }
            }
            other => other,
        });
    }
    let Some(entry) = lower::find(domain, &node.op_type) else {
        return Err(ImportError::UnsupportedOperator {
            node: node_name(node, position),
            operator: operator_name(node),
        });
    };
    let opset = scope.opsets.get(domain).copied();
    let opset = opset.or((!domain.is_empty()).then_some(1)).ok_or_else(|| {
        ImportError::Model("the file does not say which operator set it uses (opset_import is missing)".into())
    })?;
    let halves = entry.widens_halves.then(|| halves_of(builder, &inputs)).flatten();
    let mut context = NodeContext { builder, proto: node, opset, inputs, read: Cell::new(0), scope };
    let lowered = match halves {
        None => (entry.lower)(&mut context),
        Some(half) => lower_halves(entry, &mut context, half),
    };
    match (lowered, context.unread()) {
        (Ok(_), Some(at)) => Err(wrong(format!("operand {at} is given, but it is not supported"))),
        (lowered, _) => lowered.map_err(wrong),
    }
}

/// The half-precision type among the operands, if there is one.
fn halves_of(builder: &GraphBuilder, inputs: &[Option<Value>]) -> Option<DType> {
    let dtypes = inputs.iter().flatten().map(|&v| builder.ty(v).dtype);
    dtypes.into_iter().find(|d| matches!(d, DType::F16 | DType::BF16))
}

/// f16 and bf16 are storage: the operands are widened exactly, the operator works in f32, and f32 results are rounded back.
fn lower_halves(entry: &lower::Entry, context: &mut NodeContext<'_>, half: DType) -> Result<Vec<Value>, String> {
    for at in 0..context.inputs.len() {
        if let Some(value) = context.inputs[at].filter(|&v| context.dtype(v) == half) {
            context.inputs[at] = Some(context.cast(value, DType::F32)?);
        }
    }
    let results = (entry.lower)(context)?;
    results.into_iter().map(|v| if context.dtype(v) == DType::F32 { context.cast(v, half) } else { Ok(v) }).collect()
}

/// Lowers a function's body in place of its call.
fn inline(
    function: &FunctionProto,
    call: &NodeProto,
    inputs: Vec<Option<Value>>,
    builder: &mut GraphBuilder,
    scope: &Scope<'_>,
) -> Result<Vec<Value>, ImportError> {
    let name = &function.name;
    if scope.depth >= DEPTH_MAX {
        return Err(ImportError::Model(format!("function '{name}': calls nest deeper than {DEPTH_MAX}")));
    }
    let own = opsets_of(&function.opset_import)?;
    let opsets = if own.is_empty() { scope.opsets.clone() } else { own };
    let mut inner =
        Scope { values: BTreeMap::new(), parent: None, file: scope.file, opsets: &opsets, depth: scope.depth + 1 };
    for (parameter, value) in function.input.iter().zip(inputs) {
        value.map(|value| inner.values.insert(parameter.clone(), value));
    }
    let mut body = function.node.clone();
    for node in &mut body {
        substitute(node, call, function, 0);
        // Absent optional operands are empty names in the body.
        node.input
            .iter_mut()
            .filter(|n| function.input.contains(n) && !inner.values.contains_key(*n))
            .for_each(String::clear);
    }
    lower_nodes(&body, builder, &mut inner)?;
    let result = |output: &String| {
        inner.find(output).ok_or_else(|| ImportError::Model(format!("function '{name}' does not compute '{output}'")))
    };
    function.output.iter().map(result).collect()
}

/// Replaces references to the function's attributes by the call's values or the defaults; drops those without a value.
fn substitute(node: &mut NodeProto, call: &NodeProto, function: &FunctionProto, depth: usize) {
    node.attribute.retain_mut(|attribute| {
        if !attribute.ref_attr_name.is_empty() {
            let value =
                call.attribute.iter().chain(&function.attribute_proto).find(|a| a.name == attribute.ref_attr_name);
            let Some(value) = value else { return false };
            *attribute = AttributeProto { name: attribute.name.clone(), ..value.clone() };
        }
        if let Some(graph) = attribute.g.as_mut().filter(|_| depth < DEPTH_MAX) {
            graph.node.iter_mut().for_each(|n| substitute(n, call, function, depth + 1));
        }
        true
    });
}

/// Lowers a subgraph that reads the names around it, such as a branch of If, and gives its outputs.
pub(crate) fn lower_subgraph(
    graph: &GraphProto,
    inputs: &[Value],
    builder: &mut GraphBuilder,
    scope: &Scope<'_>,
) -> Result<Vec<Value>, String> {
    if scope.depth >= DEPTH_MAX {
        return Err(format!("subgraphs nest deeper than {DEPTH_MAX}"));
    }
    let mut inner = Scope {
        values: BTreeMap::new(),
        parent: Some(scope),
        file: scope.file,
        opsets: scope.opsets,
        depth: scope.depth + 1,
    };
    for (parameter, &value) in graph.input.iter().zip(inputs) {
        inner.values.insert(parameter.name.clone(), value);
    }
    lower_graph(graph, builder, &mut inner).map_err(|e| e.to_string())?;
    let result = |name: &str| inner.find(name).ok_or_else(|| format!("the subgraph does not compute '{name}'"));
    graph.output.iter().map(|o| result(&o.name)).collect()
}
