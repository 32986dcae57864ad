"""answerers"""
