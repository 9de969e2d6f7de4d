"""What of PostgreSQL's SQL each of our statements uses beyond what every engine has, read by PostgreSQL's own parser.

Each syntax node, function and type that occurs is either plain, or a construct by the name that it has in `engines.toml`, which lists both. So a
statement with anything new is refused until somebody has looked up which engine takes it.
"""

import ast as python
import re
import tomllib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pglast
from pglast import ast, enums
from pglast.visitors import Visitor

import ordersaga
from ordersaga.messaging import short_transaction
from ordersaga.messaging.queries import queries_in

SOURCE: Final = Path(ordersaga.__file__).parent
NOT_POSTGRESQL: Final = ("audit/books.py", "audit/completions.py", "devstack/")
"""SQLite, and the servers of tests and demonstrations."""
TABLE: Final = tomllib.loads((Path(__file__).parent / "engines.toml").read_text())
PLAIN: Final = {kind: frozenset(names) for kind, names in TABLE.pop("plain").items()}
"""What every engine takes."""
FUNCTIONS: Final = {
    "nextval": "sequence",
    "pg_notify": "LISTEN and NOTIFY",
    "pg_current_xact_id": "id of the transaction",
    "set_config": "settings of a session",
    "current_setting": "settings of a session",
    "pg_try_advisory_lock": "advisory lock",
    "pg_advisory_lock": "advisory lock",
    "pg_is_in_recovery": "whether the server is a standby",
}
SYSTEM_COLUMNS: Final = {"xmin": "system column xmin", "ctid": "system column ctid"}
NODES: Final = {
    ast.OnConflictClause: "INSERT … ON CONFLICT",
    ast.AlterTableStmt: "ALTER TABLE",
    ast.CreateSeqStmt: "sequence",
    ast.VariableSetStmt: "settings of a session",
    ast.WindowDef: "window function",
    ast.CollateClause: "COLLATE",
    ast.DoStmt: "DO with COMMIT",
}
INDEXES: Final = {"brin": "BRIN index", "gin": "GIN index", "btree": ""}
ALTERATIONS: Final = {enums.AlterTableType[f"AT_{name}"] for name in ("AddColumn", "AddConstraint", "DropConstraint")}
CONSTRAINTS: Final = {
    enums.ConstrType.CONSTR_GENERATED: "generated column",
    enums.ConstrType.CONSTR_IDENTITY: "identity column",
    enums.ConstrType.CONSTR_FOREIGN: "foreign key",
    enums.ConstrType.CONSTR_UNIQUE: "unique index",
}
PLAIN_CONSTRAINTS: Final = {
    enums.ConstrType[f"CONSTR_{name}"] for name in ("NOTNULL", "NULL", "DEFAULT", "CHECK", "PRIMARY")
}
PUT_IN: Final = "1"
"""What stands in a literal for a value that is put in."""
CALLS: Final = {
    "copy_records_to_table": "COPY",
    "add_listener": "LISTEN and NOTIFY",
    "transaction": "transaction, savepoint",
}
"""Methods of a connection that send statements of their own. `transaction` is a savepoint inside of another one."""
COMPOSED: Final = f"INSERT INTO {PUT_IN}"
"""`insert_of` writes an INSERT of plain values, whose table and columns are parameters."""
STATEMENT: Final = re.compile(
    r"\s*(SELECT\b(?!,)|INSERT INTO|UPDATE|DELETE FROM|WITH|SET|CREATE|ALTER TABLE|DROP|LOCK|COPY|LISTEN|NOTIFY|BEGIN)\b"
)


KEYS: Final = {"id", "order_id", "payment_key", "record_offset", "partition"}


class Unknown(Exception):
    """A statement has something that nobody has looked up yet."""


class Statement(NamedTuple):
    """One of our statements. `where`: its file below `src/ordersaga`, `name`: of the query, or of the method that sends it."""

    where: str
    name: str
    constructs: frozenset[str]


def statements() -> list[Statement]:
    """All statements of the services: the named queries, the migrations, and those in Python."""
    found: list[Statement] = []
    for path in sorted(SOURCE.rglob("*.sql")):
        where = str(path.relative_to(SOURCE))
        texts = {path.stem: path.read_text()} if path.parent.name == "migrations" else named(path)
        found += [Statement(where, name, constructs_of(text, f"{where}: {name}")) for name, text in texts.items()]
    for path in sorted(SOURCE.rglob("*.py")):
        where = str(path.relative_to(SOURCE))
        if not where.startswith(NOT_POSTGRESQL):
            found += _in_python(path.read_text(), where)
    return found


def named(path: Path) -> dict[str, str]:
    """The queries of a file by name, as they are sent."""
    made = queries_in(path.read_text())
    return {name: getattr(made, name).sql for name in made.available_queries if not name.endswith("_cursor")}


def short_turn_of_stock() -> str:
    """The one statement of a short turn: comparisons, writes and the fence, as `ShortTransaction` puts them together."""
    runtime, stock = named(SOURCE / "messaging/ledger.sql"), named(SOURCE / "stock/queries.sql")
    parts = [
        stock[name] for name in ("available_as_read", "reservations_as_read", "count_movements", "change_reservations")
    ]
    queries = tuple(query.rstrip().removesuffix(";") for query in (runtime["fence_at_end"], *parts))
    sizes = tuple(max(map(int, re.findall(r"\$(\d+)", query))) for query in queries)
    return short_transaction._together(queries, sizes, 2)


def constructs_of(text: str, where: str = "") -> frozenset[str]:
    """The constructs of a text of statements. Raises `Unknown`."""
    found = _Constructs()
    for statement in pglast.parse_sql(text):
        found(statement)
    if found.unknown:
        raise Unknown(
            f"{where}: {', '.join(sorted(found.unknown))}. Look up in the engines' documentation which of them takes it. If all do, add it to "
            "the plain ones in tests/docs/engines.toml. Otherwise give it a name in tests/docs/sql_constructs.py and a row in engines.toml."
        )
    return frozenset(found.names - {""})


def _in_python(text: str, where: str) -> Iterator[Statement]:
    tree = python.parse(text)
    others = {id(part) for node in python.walk(tree) for part in _not_sent(node)}
    for node in python.walk(tree):
        if isinstance(node, python.Attribute) and node.attr in CALLS:
            yield Statement(where, node.attr, frozenset({CALLS[node.attr]}))
        sent = "" if id(node) in others else _text_of(node)
        if STATEMENT.match(sent) and not sent.startswith(COMPOSED):
            yield Statement(
                where, f"line {getattr(node, 'lineno', 0)}", constructs_of(sent.replace("%s", "NULL"), where)
            )


def _not_sent(node: python.AST) -> list[python.expr]:
    """The parts of a literal with values in it, which are seen as one, and texts that stand alone: they say what something is for."""
    if isinstance(node, python.JoinedStr):
        return node.values
    return [node.value] if isinstance(node, python.Expr) else []


def _text_of(node: python.AST) -> str:
    if isinstance(node, python.JoinedStr):
        return "".join(str(each.value) if isinstance(each, python.Constant) else PUT_IN for each in node.values)
    return node.value if isinstance(node, python.Constant) and isinstance(node.value, str) else ""


class _Constructs(Visitor):
    """Visits all nodes of a statement."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.unknown: set[str] = set()

    def visit(self, _: Any, node: ast.Node) -> None:
        """A node with a method of its own is seen there, others must be plain."""
        kind = type(node).__name__
        own = getattr(self, f"_{kind}", None)
        if own is not None:
            own(node)
        elif type(node) in NODES:
            self.names.add(NODES[type(node)])
        elif kind not in PLAIN["nodes"]:
            self.unknown.add(f"the syntax node {kind}")

    def _known(self, name: str, names: dict[str, str], plain: Collection[str], what: str) -> None:
        if name in names:
            self.names.add(names[name])
        elif name not in plain:
            self.unknown.add(f"the {what} {name}")

    def _FuncCall(self, node: Any) -> None:
        self._known(node.funcname[-1].sval, FUNCTIONS, PLAIN["functions"], "function")

    def _TypeName(self, node: Any) -> None:
        self._known(node.names[-1].sval, {"xid": "id of the transaction"}, PLAIN["types"], "type")

    def _ColumnRef(self, node: Any) -> None:
        self.names.add(SYSTEM_COLUMNS.get(_named(node), ""))

    def _RangeVar(self, node: Any) -> None:
        if node.relname.startswith("pg_"):
            self.names.add("tables of PostgreSQL's own")

    def _RangeSubselect(self, node: Any) -> None:
        self.names.add("LATERAL" if node.lateral else "")

    def _JoinExpr(self, node: Any) -> None:
        self.names.add("" if node.jointype == enums.JoinType.JOIN_INNER else "outer join")

    def _SelectStmt(self, node: Any) -> None:
        if node.distinctClause and node.distinctClause[0] is not None:
            self.names.add("DISTINCT ON")
        if node.lockingClause:
            several = isinstance(node.fromClause[0], ast.JoinExpr) or _several(node.whereClause)
            self.names.add("FOR UPDATE of several rows" if several else "FOR UPDATE of one row")

    def _LockingClause(self, node: Any) -> None:
        if node.strength != enums.LockClauseStrength.LCS_FORUPDATE:
            self.unknown.add(f"the lock {node.strength.name}")
        self.names.add("SKIP LOCKED" if node.waitPolicy == enums.LockWaitPolicy.LockWaitSkip else "")

    def _WithClause(self, node: Any) -> None:
        self.names.add("WITH RECURSIVE" if node.recursive else "")

    def _CommonTableExpr(self, node: Any) -> None:
        self.names.add("" if isinstance(node.ctequery, ast.SelectStmt) else "WITH that changes rows")
        if node.ctematerialized == enums.CTEMaterialize.CTEMaterializeAlways:
            self.names.add("WITH … AS MATERIALIZED")

    def _InsertStmt(self, node: Any) -> None:
        self.names.add("INSERT … SELECT" if node.selectStmt and not node.selectStmt.valuesLists else "")

    def _UpdateStmt(self, node: Any) -> None:
        self.names.add("UPDATE … FROM" if node.fromClause else "")

    def _DeleteStmt(self, node: Any) -> None:
        self.names.add("DELETE … USING" if node.usingClause else "")

    def _CreateStmt(self, node: Any) -> None:
        for option in node.options or ():
            self._known(option.defname, {"fillfactor": "fillfactor"}, set(), "option of a table")

    def _AlterTableCmd(self, node: Any) -> None:
        if node.subtype not in ALTERATIONS:
            self.unknown.add(f"the alteration {node.subtype.name}")

    def _IndexStmt(self, node: Any) -> None:
        self._known(node.accessMethod, INDEXES, set(), "index method")
        self.names.add("unique index" if node.unique else "")
        self.names.add("partial index" if node.whereClause else "")
        self.names.add("index on an expression" if any(each.expr for each in node.indexParams) else "")

    def _Constraint(self, node: Any) -> None:
        if node.contype in CONSTRAINTS:
            self.names.add(CONSTRAINTS[node.contype])
        elif node.contype not in PLAIN_CONSTRAINTS:
            self.unknown.add(f"the constraint {node.contype.name}")


def _several(where: Any) -> bool:
    """Whether a condition, or none, may hold for more than one row: it does not compare a key with a parameter."""
    parts: Any = (
        where.args if isinstance(where, ast.BoolExpr) and where.boolop == enums.BoolExprType.AND_EXPR else (where,)
    )
    return not any(
        isinstance(part, ast.A_Expr)
        and part.kind == enums.A_Expr_Kind.AEXPR_OP
        and isinstance(part.rexpr, ast.ParamRef)
        and isinstance(part.lexpr, ast.ColumnRef)
        and _named(part.lexpr) in KEYS
        for part in parts
    )


def _named(column: Any) -> str:
    return getattr(column.fields[-1], "sval", "*")
