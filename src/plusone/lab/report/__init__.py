"""What runs found, for people: one page that is whole in itself, Markdown, or JSON.

    runs = read_runs([Path("plusone-runs/2026-11-21T120000Z-verify-redis")])
    Path("report.html").write_text(html(runs))

`reading` takes the runs' folders, `summary` says what they come to, `plots` and `spacetime` draw, `page` and `markdown`
write. Everything that a run says is taken for what somebody else wrote: it is bounded, and escaped.
"""
