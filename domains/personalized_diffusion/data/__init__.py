"""What goes in: photos, captions, class pictures, prompts."""
