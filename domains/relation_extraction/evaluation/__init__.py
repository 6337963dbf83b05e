"""AutoRE's and DocRED's scores, and comparisons with other systems."""
