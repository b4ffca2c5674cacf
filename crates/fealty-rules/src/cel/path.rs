//! Names with fields.

use cel::{
    IdedExpr,
    common::ast::{Expr, LiteralValue, operators},
};

/// `a.b.c`, or `a["b"].c`, in its parts.
pub(super) fn path(tree: &IdedExpr) -> Option<Vec<&str>> {
    match &tree.expr {
        Expr::Ident(name) => Some(vec![name]),
        Expr::Select(select) if !select.test => {
            let mut of = path(&select.operand)?;
            of.push(&select.field);
            Some(of)
        }
        Expr::Call(call) if call.func_name == operators::INDEX => {
            let [of, field] = &*call.args else {
                return None;
            };
            let Expr::Literal(LiteralValue::String(field)) = &field.expr else {
                return None;
            };
            let mut of = path(of)?;
            of.push(field.inner());
            Some(of)
        }
        _ => None,
    }
}
