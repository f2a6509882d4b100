"""What people see of an evaluation: `document.html`, `markdown.markdown`, and `terminal.tables`, all from scores.json and its rows."""
