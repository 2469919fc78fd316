"""The grammar of AQL for lark's LALR parser, and the names that ArangoDB gives tokens in messages.

What is not here (graphs, views, windows) is refused with 501 before it is parsed: see parse.py.
"""

from __future__ import annotations

GRAMMAR = r"""
query: clause* final
     | clause* final_modify

clause: for | filter | let | sort | limit | collect | modify | upsert
final: return
final_modify: modify | upsert

for: FOR NAME IN expression options?
filter: FILTER expression
let: LET assignment ("," assignment)*
assignment: NAME "=" expression
sort: SORT criterion ("," criterion)*
criterion: expression direction?
direction: ASC | DESC
limit: LIMIT expression ("," expression)?
return: RETURN DISTINCT expression -> return_distinct
      | RETURN expression -> return_all

collect: COLLECT groups? aggregates? collect_end? options?
groups: assignment ("," assignment)*
aggregates: AGGREGATE assignment ("," assignment)*
collect_end: INTO NAME keep? -> into
           | INTO NAME "=" expression -> into_projection
           | WITH COUNT INTO NAME -> with_count
keep: KEEP NAME ("," NAME)*

modify: INSERT plain _into collection options? -> insert
      | UPDATE plain _into collection options? -> update_self
      | UPDATE plain WITH plain _into collection options? -> update_with
      | REPLACE plain _into collection options? -> replace_self
      | REPLACE plain WITH plain _into collection options? -> replace_with
      | REMOVE plain _into collection options? -> remove
upsert: UPSERT plain INSERT plain UPDATE plain _into collection options? -> upsert_update
      | UPSERT plain INSERT plain REPLACE plain _into collection options? -> upsert_replace
_into: IN | INTO
collection: NAME | BIND_COLLECTION
options: OPTIONS object

?expression: ternary
?ternary: or_ | or_ "?" ternary ":" ternary -> ternary_full
        | or_ "?" ":" ternary -> ternary_short
?or_: and_ | or_ OR and_ -> binary
?and_: equality | and_ AND equality -> binary
?equality: membership
         | equality (EQ | NE | LIKE | MATCH | NO_MATCH) membership -> binary
         | equality NOT_LIKE membership -> binary
?membership: comparison
           | membership (IN | NOT_IN) comparison -> binary
           | membership quantifier (IN | NOT_IN | EQ | NE | LT | GT | LE | GE) comparison -> quantified
?comparison: range
           | comparison (LT | GT | LE | GE) range -> binary

// the same without a bare IN, which stands before the collection there
?plain: plain_or | plain_or "?" plain ":" plain -> ternary_full
?plain_or: plain_and | plain_or OR plain_and -> binary
?plain_and: plain_equality | plain_and AND plain_equality -> binary
?plain_equality: comparison | plain_equality (EQ | NE | LIKE) comparison -> binary
quantifier: ANY | ALL | NONE
?range: sum | sum RANGE sum -> binary
?sum: product | sum (PLUS | MINUS) product -> binary
?product: unary | product (TIMES | DIV | MOD) unary -> binary
?unary: postfix | (NOT | PLUS | MINUS) unary -> unary
?postfix: atom
        | postfix "." NAME -> attribute
        | postfix "." BIND -> attribute_bind
        | postfix "[" expression "]" -> subscript
        | postfix STARS inline_filter? inline_limit? inline_return? "]" -> expansion
inline_filter: FILTER expression
inline_limit: LIMIT expression ("," expression)?
inline_return: RETURN expression
?atom: NAME -> ref
     | BIND -> bind
     | BIND_COLLECTION -> bind_collection
     | NULL -> null
     | TRUE -> true
     | FALSE -> false
     | INTEGER -> integer
     | DOUBLE -> double
     | STRING -> string
     | array | object
     | function "(" [arguments] ")" -> call
     | "(" expression ")"
     | "(" query ")" -> subquery
function: NAME | function SCOPE NAME | LIKE | KEEP_NAME
arguments: argument ("," argument)* ","?
?argument: expression | query -> subquery
array: "[" (expression ("," expression)* ","?)? "]"
object: "{" (pair ("," pair)* ","?)? "}"
pair: NAME -> pair_short
    | BIND -> pair_short_bind
    | NAME ":" expression -> pair_named
    | STRING ":" expression -> pair_string
    | BIND ":" expression -> pair_bind
    | "[" expression "]" ":" expression -> pair_computed

FOR.2: /FOR\b/i
FILTER.2: /FILTER\b/i
LET.2: /LET\b/i
SORT.2: /SORT\b/i
LIMIT.2: /LIMIT\b/i
RETURN.2: /RETURN\b/i
DISTINCT.2: /DISTINCT\b/i
COLLECT.2: /COLLECT\b/i
AGGREGATE.2: /AGGREGATE\b/i
INTO.2: /INTO\b/i
WITH.2: /WITH\b/i
COUNT.3: /COUNT\b(?=\s+INTO\b)/i
KEEP_NAME.4: /KEEP(?=\s*\()/i
KEEP.3: /KEEP\b(?=\s+[A-Za-z_$`])/i
OPTIONS.3: /OPTIONS\b(?=\s*\{)/i
INSERT.2: /INSERT\b/i
UPDATE.2: /UPDATE\b/i
REPLACE.2: /REPLACE\b/i
REMOVE.2: /REMOVE\b/i
UPSERT.2: /UPSERT\b/i
IN.2: /IN\b/i
NOT_IN.3: /NOT\s+IN\b/i
NOT_LIKE.3: /NOT\s+LIKE\b/i
LIKE.2: /LIKE\b/i
ASC.2: /ASC(ENDING)?\b/i
DESC.2: /DESC(ENDING)?\b/i
ANY.2: /ANY\b/i
ALL.2: /ALL\b/i
NONE.2: /NONE\b/i
OR.2: /OR\b|\|\|/i
AND.2: /AND\b|&&/i
NOT.2: /NOT\b|!/i
NULL.2: /NULL\b/i
TRUE.2: /TRUE\b/i
FALSE.2: /FALSE\b/i
EQ: "=="
NE: "!="
LE: "<="
GE: ">="
LT: "<"
GT: ">"
MATCH: "=~"
NO_MATCH: "!~"
RANGE: ".."
PLUS: "+"
MINUS: "-"
TIMES: "*"
DIV: "/"
MOD: "%"
SCOPE: "::"
STARS.2: /\[\s*\*+/
BIND_COLLECTION: /@@[A-Za-z0-9_]+/
BIND: /@[A-Za-z0-9][A-Za-z0-9_]*|@_+[A-Za-z0-9]+[A-Za-z0-9_]*/
DOUBLE.2: /(0|[1-9][0-9]*)((\.[0-9]+)([eE][\-+]?[0-9]+)?|[eE][\-+]?[0-9]+)|\.[0-9]+([eE][\-+]?[0-9]+)?/
INTEGER: /0[xX][0-9a-fA-F]+|0[bB][01]+|0|[1-9][0-9]*/
STRING: /"(\\.|[^"\\])*"|'(\\.|[^'\\])*'/s
NAME: /\$?[A-Za-z_][A-Za-z0-9_]*|`(\\.|[^`\\])+`|´[^´]+´/
COMMENT: /\/\/[^\n]*|\/\*.*?\*\//s
%ignore COMMENT
%ignore /\s+/
"""

# How ArangoDB calls tokens when one stands where it must not.
TOKEN_NAMES = {
    **{name: f"{name} declaration" for name in ("FOR", "LET", "FILTER", "RETURN", "COLLECT", "SORT", "LIMIT")},
    **{name: f"{name} keyword" for name in ("ASC", "DESC", "IN", "WITH", "INTO", "AGGREGATE")},
    **{name: f"{name} command" for name in ("REMOVE", "INSERT", "UPDATE", "REPLACE", "UPSERT")},
    "DISTINCT": "DISTINCT modifier",
    "NULL": "null",
    "TRUE": "true",
    "FALSE": "false",
    "NAME": "identifier",
    "STRING": "quoted string",
    "INTEGER": "integer number",
    "DOUBLE": "number",
    "BIND": "bind parameter",
    "BIND_COLLECTION": "bind data source parameter",
    "EQUAL": "assignment",
    "NOT": "not operator",
    "AND": "and operator",
    "OR": "or operator",
    "NOT_IN": "not in operator",
    "EQ": "== operator",
    "NE": "!= operator",
    "LT": "< operator",
    "GT": "> operator",
    "LE": "<= operator",
    "GE": ">= operator",
    "LIKE": "like operator",
    "MATCH": "~= operator",
    "PLUS": "+ operator",
    "MINUS": "- operator",
    "TIMES": "* operator",
    "DIV": "/ operator",
    "MOD": "% operator",
    "NO_MATCH": "~! operator",
    "QMARK": "?",
    "COLON": ":",
    "SCOPE": "::",
    "RANGE": "..",
    "COMMA": ",",
    "LPAR": "(",
    "RPAR": ")",
    "LBRACE": "{",
    "RBRACE": "}",
    "LSQB": "[",
    "RSQB": "]",
    "DOT": ".",
    "ANY": "any modifier",
    "ALL": "all modifier",
    "NONE": "none modifier",
    "$END": "end of query string",
    "KEEP": "identifier",
    "COUNT": "identifier",
    "OPTIONS": "identifier",
    "KEEP_NAME": "identifier",
}

# Words that begin something that is not spoken here.
BEYOND = (
    *("GRAPH", "SHORTEST_PATH", "K_SHORTEST_PATHS", "K_PATHS", "ALL_SHORTEST_PATHS", "OUTBOUND", "INBOUND"),
    *("SEARCH", "WINDOW", "PRUNE"),
)
