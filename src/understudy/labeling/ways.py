"""The next step from every state of a candidate, a labeler, an item, a task and an export."""

from understudy.web.ways import Way

_NEXT = ("POST /api/next",)
_DECIDE = ("POST /api/owner/labelers/{account_id}/decide", "labelers decide")
_FILL = ("POST /api/owner/queue/fill", "labels plan")
_REOPEN = "POST /api/owner/items/{item_id}/reopen"

WAYS = (
    Way(
        "candidate",
        "invited",
        "the owner, under *Labelers*",
        "the one-time link; if it is lost, *New password link*",
        ("POST /api/owner/labelers/{account_id}/reset", "labelers reset"),
    ),
    Way(
        "candidate",
        "instructions",
        "the candidate; everybody when there is a new version",
        "*I have read this*",
        ("POST /api/instructions",),
    ),
    Way("candidate", "practice", "the candidate", "the next item, until there is none", _NEXT),
    Way("candidate", "screening", "the candidate", "the next item, until there is none", _NEXT),
    Way(
        "candidate",
        "waiting",
        "the candidate; the owner, on the overview and the labeler's page",
        "the owner: *Decide*, even if the invitation named a role; the candidate: *Look again*",
        _DECIDE,
    ),
    Way(
        "candidate",
        "rejected",
        "the owner, on the labeler's page",
        "*Decide* can still give a role",
        _DECIDE,
    ),
    Way(
        "labeler",
        "active",
        "the labeler",
        "the next task; if there is none, *Look again* or another kind of task",
        _NEXT,
    ),
    Way(
        "labeler",
        "disabled",
        "the owner, on the labeler's page",
        "*Enable*",
        ("POST /api/owner/labelers/{account_id}/enable", "labelers enable"),
    ),
    Way(
        "item",
        "not queued",
        "the owner, on the overview and the queue's page",
        "*Fill the queue*: adds prompts without a demonstration or with responses to rank; on "
        "request also asks for demonstrations of prompts that have responses",
        _FILL,
    ),
    Way("item", "open", "labelers", "the queue hands it out", _NEXT),
    Way(
        "item",
        "open, nobody left",
        "the owner, on the overview and the queue's page; `labels plan`",
        "*Invite somebody*, or *End them*: items with a label are done, the others set aside",
        ("POST /api/owner/labelers", "POST /api/owner/queue/end", "labelers invite"),
    ),
    Way(
        "item",
        "open or done, with later responses",
        "the owner, on the overview and the queue's page",
        "*Fill the queue*: ranked together with the earlier responses or apart",
        _FILL,
    ),
    Way(
        "item",
        "done",
        "the owner, under *Disagreements*, if labelers disagree",
        "*Decide this ranking*, *Ask for more labels*",
        ("POST /api/owner/disagreements/{item_id}",),
    ),
    Way(
        "item",
        "set_aside",
        "the owner, on the overview and the queue's page",
        "*Send back* or *Close*",
        (_REOPEN, "POST /api/owner/items/{item_id}/close"),
    ),
    Way("item", "closed", "the owner, on the queue's page", "*Send back*", (_REOPEN,)),
    Way(
        "task",
        "leased",
        "the labeler",
        "*Send* or *Skip*; *Unsure* and *Cannot rank* can be sent too",
        (
            "POST /api/assignments/{assignment_id}/submit",
            "POST /api/assignments/{assignment_id}/skip",
        ),
    ),
    Way(
        "task",
        "expired",
        "the labeler, above the task",
        "continue and *Send*: late work is kept",
        ("POST /api/assignments/{assignment_id}/submit",),
    ),
    Way(
        "task",
        "done",
        "the labeler, under *History*",
        "change it; the browser keeps an unsent change, which can be sent or dropped; practice, "
        "with its feedback, and written prompts can only be read",
        ("GET /api/history", "POST /api/assignments/{assignment_id}/submit"),
    ),
    Way(
        "task",
        "skipped",
        "the labeler",
        "*Take it back*, unless somebody else already has it",
        ("POST /api/assignments/{assignment_id}/unskip",),
    ),
    Way("export", "waiting", "the owner, under *Exports*", "it starts when the one before it ends"),
    Way("export", "running", "the owner, under *Exports*", "its progress is shown"),
    Way(
        "export",
        "done",
        "the owner, under *Exports*",
        "*Download*; if the file has changed since, *Export* again",
        ("GET /api/owner/exports/{job_id}/file", "export"),
    ),
    Way(
        "export",
        "failed",
        "the owner, under *Exports*",
        "its reason is shown; *Try again*",
        ("POST /api/owner/exports", "export"),
    ),
)
