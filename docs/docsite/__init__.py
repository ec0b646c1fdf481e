"""Makes the documentation site from the notebooks: notebooks to Markdown, Markdown to pages, pages looked over."""
