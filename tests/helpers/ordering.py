"""Find code whose answer may depend on the process: listings in the disk's order, and loops over sets.

A folder is listed in the order of the file system, and a set of strings in an order that changes with PYTHONHASHSEED.
Neither may reach a result, so both are sorted, or used where the order has no effect.
"""
import ast

LISTINGS = ("iterdir", "glob", "rglob", "listdir", "scandir", "walk", "iglob")
# what takes an iterable and gives the same answer for any order
ANY_ORDER = ("sorted", "set", "frozenset", "len", "sum", "any", "all", "bool", "min", "max", "update", "union",
             "difference", "intersection", "issubset", "issuperset", "isdisjoint", "intersection_update",
             "difference_update", "symmetric_difference")
# what keeps the order of an iterable
IN_ORDER = ("list", "tuple", "iter", "enumerate", "zip", "map", "filter", "fromkeys", "join", "Counter", "next",
            "a_few", "extend", "islice", "chain", "array", "DataFrame", "Series", "most_common", "commonprefix")
SET_METHODS = ("union", "intersection", "difference", "symmetric_difference")


def name_of(call):
    "The last part of the name of the function that is called: `glob` of `folder.glob('*')`."
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def add_parents(tree):
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            child.parent = node
    return tree


def is_order_free(node):
    "Whether an expression is used only where the order has no effect: an argument of `sorted`, of `set`, of `in`."
    parent = node.parent
    if isinstance(parent, ast.Starred):
        if isinstance(parent.parent, ast.Set):
            return True
        return is_order_free(parent.parent) if isinstance(parent.parent, (ast.Tuple, ast.List)) else False
    if isinstance(parent, ast.Call) and node in parent.args:
        if name_of(parent) in ("list", "tuple", "iter", "filter", "map", "chain"):
            return is_order_free(parent)
        has_key = any(keyword.arg == "key" for keyword in parent.keywords)
        return name_of(parent) in ANY_ORDER and not (has_key and name_of(parent) in ("min", "max"))
    if isinstance(parent, ast.comprehension):
        loop = parent.parent
        if isinstance(loop, (ast.GeneratorExp, ast.ListComp)):
            return is_order_free(loop)
        return isinstance(loop, ast.SetComp)
    return isinstance(parent, ast.Compare) and node in parent.comparators


def functions_with_sets(trees):
    "The names of the functions that say that they return a set."
    return {node.name for tree in trees for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef) and getattr(node.returns, "id", "") in ("set", "frozenset")}


class SetNames:
    "Which expressions of one function, or of a module outside its functions, are sets."
    def __init__(self, scope, functions, outer=(), attributes=frozenset()):
        self.functions, self.names, self.attributes = functions, set(outer), attributes
        if isinstance(scope, ast.FunctionDef):
            arguments = (*scope.args.args, *scope.args.kwonlyargs)
            given = getattr(scope, "given_sets", set())
            self.names -= {argument.arg for argument in arguments}
            self.names |= {a.arg for a in arguments if getattr(a.annotation, "id", "") == "set" or a.arg in given}
        for node in own_nodes(scope):
            for target, value in assignments(node):
                if isinstance(target, ast.Name) and self.is_set(value):
                    self.names.add(target.id)

    def is_set(self, node):
        if isinstance(node, (ast.Set, ast.SetComp)):
            return True
        if isinstance(node, ast.Name):
            return node.id in self.names
        if isinstance(node, ast.Attribute):
            return node.attr in self.attributes
        if isinstance(node, ast.IfExp):
            return self.is_set(node.body) or self.is_set(node.orelse)
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.BitOr, ast.BitAnd, ast.Sub, ast.BitXor)):
            return self.is_set(node.left) or self.is_set(node.right) or is_keys(node.left) or is_keys(node.right)
        if not isinstance(node, ast.Call):
            return False
        return name_of(node) in ("set", "frozenset", *SET_METHODS) or name_of(node) in self.functions


def is_keys(node):
    return isinstance(node, ast.Call) and name_of(node) == "keys"


def own_nodes(scope):
    "The nodes of a scope, without those of the functions in it."
    if not hasattr(scope, "own_nodes"):
        scope.own_nodes, todo = [], [*ast.iter_child_nodes(scope)]
        while todo:
            scope.own_nodes.append(node := todo.pop())
            if not isinstance(node, ast.FunctionDef):
                todo += ast.iter_child_nodes(node)
    return scope.own_nodes


def assignments(node):
    "The (target, value) pairs that a statement assigns."
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                yield from zip(target.elts, node.value.elts)
            else:
                yield target, node.value
    elif isinstance(node, (ast.NamedExpr, ast.AnnAssign, ast.AugAssign)) and node.value is not None:
        yield node.target, node.value


def iterated(node):
    "What a node goes through in order."
    if isinstance(node, (ast.For, ast.comprehension)):
        yield node.iter
    elif isinstance(node, ast.Starred):
        yield node.value
    elif isinstance(node, ast.Call):
        if name_of(node) in IN_ORDER:
            yield from node.args
        if name_of(node) == "pop" and not node.args and isinstance(node.func, ast.Attribute):
            yield node.func.value
        if name_of(node) in ("min", "max") and any(keyword.arg == "key" for keyword in node.keywords):
            yield from node.args


def inner_functions(scope):
    return [node for node in own_nodes(scope) if isinstance(node, ast.FunctionDef)]


def methods_and_functions(tree):
    return {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def note_given_sets(scope, sets, functions):
    "Remember which parameters of this module's functions get a set."
    for call in (node for node in own_nodes(scope) if isinstance(node, ast.Call)):
        called = functions.get(name_of(call))
        for parameter, value in zip(called.args.args if called else (), call.args):
            if sets.is_set(value):
                called.given_sets = {*getattr(called, "given_sets", ()), parameter.arg}


def set_attributes(tree):
    "The names of attributes that are sets: fields of classes, and what is assigned to `self`."
    nothing, names = SetNames(ast.Module([], []), frozenset()), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and getattr(node.annotation, "id", "") in ("set", "frozenset"):
            names.add(getattr(node.target, "id", ""))
        for target, value in assignments(node):
            if isinstance(target, ast.Attribute) and nothing.is_set(value):
                names.add(target.attr)
    return names


def set_loops(tree, functions=frozenset()):
    "The loops over sets whose result has an order: (line, source)."
    add_parents(tree)
    found, own, attributes = set(), methods_and_functions(tree), set_attributes(tree)

    def visit(scope, outer):
        sets = SetNames(scope, functions, outer, attributes)
        note_given_sets(scope, sets, own)
        for node in own_nodes(scope):
            for part in filter(sets.is_set, iterated(node)):
                if not is_order_free(part):
                    found.add((part.lineno, ast.unparse(part)))
        for inner in inner_functions(scope):
            visit(inner, sets.names)
    for _ in range(2): # the second time with the parameters that get sets
        visit(tree, ())
    return sorted(found)


def unsorted_listings(tree):
    "The listings of folders that are not sorted: (line, source)."
    add_parents(tree)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and name_of(node) in LISTINGS
             and not (isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") == "ast")]
    return sorted((call.lineno, ast.unparse(call)) for call in calls if not is_order_free(call))
